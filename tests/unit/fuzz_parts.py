# SPDX-License-Identifier: GPL-2.0
"""Recorded executions of Linux 7.3.4 as executions of programs of `testbed fuzz`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.fuzz.exchange import Ran
from testbed.fuzz.program import Program
from testbed.mmap.execution import Execution, Steps, execution_script
from testbed.mmap.observation import parse_observation
from testbed.mmap.path import HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.scenario import Call

_DATA = Path(__file__).parent / "data" / "executions"

VERSION = "7.3.4"

Facts = dict[int, dict[str, Any]]
Doctor = Callable[[Facts, Steps], None]

# The programs of two recorded scenarios.
MAPS = Program(plan=Plan(vm_ops=VmOps.FULL, private=0x51), call=Call(pages=5, offset=3))
FAILS = Program(
    plan=Plan(vm_ops=VmOps.NO_CLOSE, private=5, action=Action.REMAP, mapped_error="-EBUSY")
)
_NAMES = {MAPS.key: "map-rw-shared", FAILS.key: "mapped-fails-remap-shared-noclose"}


def ran(
    program: Program, *paths: HookPath, doctor: Doctor | None = None, sick: HookPath | None = None
) -> Ran:
    """Return what was recorded of a program. `doctor` changes the facts of the path `sick`."""
    return Ran(
        program,
        {path: _execution(program, path, doctor if path is sick else None) for path in paths},
    )


def _execution(program: Program, path: HookPath, doctor: Doctor | None) -> Execution:
    script, steps = execution_script(program.scenario, path)
    output = (_DATA / f"{_NAMES[program.key]}-{path}.jsonl").read_text()
    if doctor is not None:
        lines = [json.loads(line) for line in output.splitlines()]
        doctor({line["step"]: line for line in lines if "step" in line}, steps)
        output = "\n".join(map(json.dumps, lines))
    return Execution(program.scenario, path, steps, parse_observation(script, output, "recorded"))
