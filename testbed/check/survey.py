# SPDX-License-Identifier: GPL-2.0
"""The survey: finds the mapping from which all trials start."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.check.checkplan import CheckPlan
from testbed.check.script import BaseMapping, DriverNode, DriverScript
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath

# The base mapping has at most this many pages, unless all that succeed have more.
_MOST = 8


@dataclass
class Survey:
    """Finds the base mapping of one sharing."""

    path: HookPath
    node: DriverNode
    plan: CheckPlan
    sharing: str
    script: DriverScript = field(init=False)
    _steps: dict[tuple[str, int, int], tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = BaseMapping(self.sharing, 1, 0, self.plan.prots[0])
        self.script = DriverScript(self.path, self.node, base)
        for prot in self.plan.prots:
            for offset in self.plan.offsets:
                for size in self.plan.sizes:
                    made = self.script.map(pages=size, prot=prot, offset=offset)
                    self._steps[prot, offset, size] = made, self.script.read()
                    self.script.step("munmap", "m")

    def base(self, seen: Observation) -> BaseMapping | None:
        """Return the base mapping, or None if nothing can be mapped.

        It has the first protection that can be mapped, and the first offset with it. Its size is
        the largest of up to eight pages that are all accessible. If there is none, it is the
        largest of up to eight pages, or else the smallest of all.
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
        return BaseMapping(self.sharing, max(good or few or [min(sizes)]), offset, prot)
