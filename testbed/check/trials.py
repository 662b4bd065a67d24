# SPDX-License-Identifier: GPL-2.0
"""What userspace can do to a mapping, and what must be true of any driver when it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.check import lifetime, mapping, modifying
from testbed.check.checkplan import CheckPlan
from testbed.check.invariants import Rules, Steps
from testbed.check.script import BaseMapping, DriverNode, DriverScript
from testbed.mmap.path import HookPath


@dataclass(frozen=True)
class Trial:
    """One thing that is done to a mapping, on every path."""

    name: str
    base: BaseMapping
    steps: Steps
    mode: str = "rw"  # in which the files are opened
    least: int = 1  # pages that the base mapping must have
    writes: bool = False  # the base mapping must be writable
    unloads: bool = False  # it tries to unload the module itself

    def why_not(self, plan: CheckPlan) -> str:
        """Why it is not tried, if so."""
        if plan.skips(self.name):
            return "the plan says so"
        if self.base.pages < self.least:
            return f"nothing of {self.least} pages can be mapped"
        if self.writes and not self.base.writable:
            return "nothing can be mapped for writing"
        if self.writes and not plan.memory:
            return "the plan says that it is no plain memory"
        return ""

    def script(self, path: HookPath, node: DriverNode) -> tuple[DriverScript, Rules]:
        """The script on a path, and its rules."""
        script = DriverScript(path, node, self.base, self.mode)
        return script, self.steps(script)


def trials_on(base: BaseMapping, plan: CheckPlan) -> Iterator[Trial]:
    """All trials that start from a base mapping."""

    def trial(name: str, steps: Steps, **keys: int | str | bool) -> Trial:
        return Trial(f"{name}-{base.sharing}", base, steps, **keys)  # type: ignore[arg-type]

    yield trial("sizes", mapping.sizes(plan))
    for prot in plan.prots:
        yield trial(f"prot-{prot}", mapping.protection(prot))
    yield trial("read-only", mapping.read_only, mode="ro")
    yield trial("write-only", mapping.write_only, mode="wo")
    yield trial("exit", lifetime.exit)
    yield trial("again", mapping.again)
    yield trial("fork", lifetime.fork)
    yield trial("fork-write", lifetime.fork_write, writes=True)
    yield trial("munmap-part", modifying.munmap_part, least=3)
    yield trial("mprotect-part", modifying.mprotect_part, least=3)
    yield trial("shrink", modifying.shrink, least=2)
    yield trial("grow", modifying.grow)
    yield trial("move", modifying.move)
    yield trial("move-part", modifying.move_part, least=3)
    yield trial("move-refused", modifying.move_refused)
    yield trial("populate", mapping.populate)
    yield trial("locked", mapping.locked)
    yield trial("mlock", modifying.mlock)
    yield trial("dontneed", modifying.dontneed)
    yield trial("over", mapping.over)
    yield trial("adjacent", mapping.adjacent, least=2)
    yield trial("write", lifetime.write, writes=True)
    yield trial("close-first", lifetime.close_first)
    yield trial("unload", lifetime.unload, unloads=True)
