# SPDX-License-Identifier: GPL-2.0
"""Programs that damage their guest, and are run no more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from testbed.fuzz.program import Program
from testbed.mmap.path import HookPath
from testbed.mmap.scenario import Call


@dataclass(frozen=True)
class LeftOut:
    """Programs that set these fields damage the guest on a path: one was reported."""

    path: HookPath | None  # None: on any path
    fields: frozenset[str]

    def covers(self, program: Program, path: HookPath) -> bool:
        return self.path in (None, path) and self.fields <= fields_of(program)


def fields_of(program: Program) -> frozenset[str]:
    """Return what a program does beyond the simplest one."""
    plans = {"plan": program.plan, "outer": program.outer, "spare": program.spare_plan}
    words = {f"{name} {word}" for name, plan in plans.items() for word in plan.words()}
    call, usual = dataclasses.asdict(program.call), dataclasses.asdict(Call())
    return (
        frozenset(word.split("=")[0] for word in words)
        | {step.op for step in program.steps}
        | {f"call {key}={value}" for key, value in call.items() if value != usual[key]}
    )
