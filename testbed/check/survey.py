"""Finds the mapping that all trials start from."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.check.plan import CheckPlan
from testbed.check.scene import Ground, Scene, Target
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath

# Pages of a mapping that all other trials start from.
_MOST = 8


@dataclass
class Survey:
    """Looks for the mapping that all other trials start from."""

    path: HookPath
    target: Target
    plan: CheckPlan
    sharing: str
    scene: Scene = field(init=False)
    _steps: dict[tuple[str, int, int], tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ground = Ground(self.sharing, 1, 0, self.plan.prots[0])
        self.scene = Scene(self.path, self.target, ground)
        for prot in self.plan.prots:
            for offset in self.plan.offsets:
                for size in self.plan.sizes:
                    made = self.scene.map(pages=size, prot=prot, offset=offset)
                    self._steps[prot, offset, size] = made, self.scene.read()
                    self.scene.step("munmap", "m")

    def ground(self, seen: Observation) -> Ground | None:
        """The first protection that maps at all decides, then the first offset, then the size.

        That is the largest of at most eight pages all of which can be touched, if there is one.
        """
        mapped = [key for key, (made, _) in self._steps.items() if not seen[made].error]
        if not mapped:
            return None
        prot, offset, _ = mapped[0]
        sizes = [size for *where, size in mapped if where == [prot, offset]]
        few = [size for size in sizes if size <= _MOST]
        good = [
            size for size in few if {*seen[self._steps[prot, offset, size][1]].results} == {"ok"}
        ]
        return Ground(self.sharing, max(good or few or [min(sizes)]), offset, prot)
