# SPDX-License-Identifier: GPL-2.0
"""Operations of userspace on a mapping, with the invariants that hold for every driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.check import lifetime, mapping, modifying, reaching, wrongcalls
from testbed.check.checkplan import CheckPlan
from testbed.check.drivernode import DriverNode
from testbed.check.invariants import Rules, Steps
from testbed.check.script import BaseMapping, DriverScript
from testbed.mmap.path import HookPath


@dataclass(frozen=True)
class Trial:
    """One operation on a driver's mapping, performed on every path."""

    name: str
    base: BaseMapping
    steps: Steps
    mode: str = ""  # of opening the files; empty: the node's
    least: int = 1  # units of the plan that the base mapping must have
    writes: bool = False  # the base mapping must be writable
    unloads: bool = False  # the script itself tries to unload the module

    def why_not(self, plan: CheckPlan) -> str:
        """Return why the plan or the base mapping rules it out, or ""."""
        if plan.skips(self.name):
            return "the plan leaves it out"
        if self.base.pages < self.least * plan.unit:
            return f"the base mapping has fewer than {self.least * plan.unit} pages"
        if self.writes and not self.base.writable:
            return "the base mapping is not writable"
        if self.writes and not plan.memory:
            return "the plan sets memory = false"
        return ""

    def script(self, path: HookPath, node: DriverNode) -> tuple[DriverScript, Rules]:
        """Return the script for a path, and its rules."""
        script = DriverScript(path, node, self.base, self.mode)
        return script, self.steps(script)


def trials_on(base: BaseMapping, plan: CheckPlan) -> Iterator[Trial]:
    """Yield all trials that start from a base mapping."""

    def trial(name: str, steps: Steps, **keys: int | str | bool) -> Trial:
        return Trial(f"{name}-{base.sharing}", base, steps, **keys)  # type: ignore[arg-type]

    yield trial("sizes", mapping.sizes(plan))
    yield trial("edges", wrongcalls.edges(plan))
    yield trial("refused", wrongcalls.refused)
    for prot in plan.prots:
        yield trial(f"prot-{prot}", mapping.protection(prot))
    yield trial("read-only", mapping.read_only, mode="ro")
    yield trial("write-later", mapping.write_later)
    yield trial("write-only", mapping.write_only, mode="wo")
    yield trial("exit", lifetime.exit)
    yield trial("again", mapping.again)
    yield trial("fork", lifetime.fork)
    yield trial("fork-write", lifetime.fork_write, writes=True)
    yield trial("munmap-part", modifying.munmap_part, least=3)
    yield trial("cut-first", modifying.cut_first, least=2)
    yield trial("mprotect-part", modifying.mprotect_part, least=3)
    yield trial("shrink", modifying.shrink, least=2)
    yield trial("grow", modifying.grow)
    yield trial("move", modifying.move)
    yield trial("move-part", modifying.move_part, least=3)
    yield trial("move-refused", modifying.move_refused)
    yield trial("duplicate", reaching.duplicate)
    yield trial("populate", mapping.populate)
    yield trial("populate-later", modifying.populate_later)
    yield trial("locked", mapping.locked)
    yield trial("mlock", modifying.mlock)
    yield trial("dontneed", modifying.dontneed)
    yield trial("over", mapping.over)
    yield trial("adjacent", mapping.adjacent, least=2)
    yield trial("beside", reaching.beside)
    yield trial("peek", reaching.peek)
    yield trial("poke", reaching.poke, writes=True)
    yield trial("write", lifetime.write, writes=True)
    yield trial("close-first", lifetime.close_first)
    yield trial("unload", lifetime.unload, unloads=True)
