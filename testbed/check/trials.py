"""What userspace can do to a mapping, and what must be true of any driver when it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.check import changing, making, sharing
from testbed.check.plan import CheckPlan
from testbed.check.rules import Rules, Steps
from testbed.check.scene import Ground, Scene, Target
from testbed.mmap.path import HookPath


@dataclass(frozen=True)
class Trial:
    """One thing that is done to a mapping, on every path."""

    name: str
    ground: Ground
    steps: Steps
    mode: str = "rw"  # in which the files are opened
    least: int = 1  # pages that the ground must have
    writes: bool = False  # the ground must be writable
    unloads: bool = False  # it tries to unload the module itself

    def why_not(self, plan: CheckPlan) -> str:
        """Why it is not tried, if so."""
        if plan.skips(self.name):
            return "the plan says so"
        if self.ground.pages < self.least:
            return f"nothing of {self.least} pages can be mapped"
        if self.writes and not self.ground.writable:
            return "nothing can be mapped for writing"
        if self.writes and not plan.memory:
            return "the plan says that it is no plain memory"
        return ""

    def scene(self, path: HookPath, target: Target) -> tuple[Scene, Rules]:
        """The script on a path, and its rules."""
        scene = Scene(path, target, self.ground, self.mode)
        return scene, self.steps(scene)


def trials_on(ground: Ground, plan: CheckPlan) -> Iterator[Trial]:
    """All trials that start from a ground."""

    def trial(name: str, steps: Steps, **keys: int | str | bool) -> Trial:
        return Trial(f"{name}-{ground.sharing}", ground, steps, **keys)  # type: ignore[arg-type]

    yield trial("sizes", making.sizes(plan))
    for prot in plan.prots:
        yield trial(f"prot-{prot}", making.protection(prot))
    yield trial("read-only", making.read_only, mode="ro")
    yield trial("write-only", making.write_only, mode="wo")
    yield trial("exit", sharing.exit)
    yield trial("again", making.again)
    yield trial("fork", sharing.fork)
    yield trial("fork-write", sharing.fork_write, writes=True)
    yield trial("munmap-part", changing.munmap_part, least=3)
    yield trial("mprotect-part", changing.mprotect_part, least=3)
    yield trial("shrink", changing.shrink, least=2)
    yield trial("grow", changing.grow)
    yield trial("move", changing.move)
    yield trial("move-part", changing.move_part, least=3)
    yield trial("move-refused", changing.move_refused)
    yield trial("populate", making.populate)
    yield trial("locked", making.locked)
    yield trial("mlock", changing.mlock)
    yield trial("dontneed", changing.dontneed)
    yield trial("over", making.over)
    yield trial("adjacent", making.adjacent, least=2)
    yield trial("write", sharing.write, writes=True)
    yield trial("close-first", sharing.close_first)
    yield trial("unload", sharing.unload, unloads=True)
