# SPDX-License-Identifier: GPL-2.0
"""The survey: finds the mapping from which all trials start, and pages that are not steady."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from testbed.check.checkplan import CheckPlan
from testbed.check.drivernode import DriverNode, Unsteady
from testbed.check.refusals import Answers, Request
from testbed.check.script import BaseMapping, DriverScript
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath

# The base mapping has at most this many units, unless all that succeed have more.
_MOST = 8

# Of a larger mapping, a survey reads the first page only.
_READ = 16  # pages

# Sizes for a driver that maps none of the plan's: a ring often has one exact size.
MORE_SIZES = (*range(1, 513), *(1 << bits for bits in range(10, 15)))  # pages


@dataclass
class Survey:
    """Finds the base mapping of one sharing."""

    path: HookPath
    node: DriverNode
    plan: CheckPlan
    sharing: str
    script: DriverScript = field(init=False)
    _steps: dict[Request, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = BaseMapping(self.sharing, 1, 0, self.plan.prots[0])
        self.script = DriverScript(self.path, self.node, base)
        for prot in self.plan.prots:
            for offset in self.plan.offsets:
                for size in self.plan.sizes:
                    made = self.script.map(pages=size, prot=prot, offset=offset)
                    pages = "all" if size <= _READ else "0"
                    self._steps[prot, offset, size] = made, self.script.read("m", pages)
                    self.script.step("munmap", "m")
                    self.script.reopen()

    def answers(self, seen: Observation) -> Answers:
        return {key: seen[made].error for key, (made, _) in self._steps.items()}

    def base(self, seen: Observation) -> BaseMapping | None:
        """Return the base mapping, or None if nothing can be mapped.

        It has the first protection that can be mapped, and the first offset with it. Its size is
        the largest of up to eight units that are all accessible. If there is none, it is the
        largest of up to eight units, or else the smallest of all.
        """
        mapped = [key for key, (made, _) in self._steps.items() if not seen[made].error]
        if not mapped:
            return None
        prot, offset, _ = mapped[0]
        sizes = [size for *where, size in mapped if where == [prot, offset]]
        few = [size for size in sizes if size <= _MOST * self.plan.unit]
        good = [
            size for size in few if {*seen[self._steps[prot, offset, size][1]].results} == {"ok"}
        ]
        return BaseMapping(self.sharing, max(good or few or [min(sizes)]), offset, prot)


@dataclass
class Look:
    """Looks at the pages of a base mapping several times, while nobody writes to them.

    The mapping is made at each of the offsets: twice, and once more after a new open(2).
    """

    path: HookPath
    node: DriverNode
    base: BaseMapping
    offsets: Sequence[int]
    milliseconds: int  # between two looks at one mapping
    script: DriverScript = field(init=False)
    _reads: dict[int, list[int]] = field(default_factory=dict)  # by offset

    def __post_init__(self) -> None:
        self.script = DriverScript(self.path, self.node, self.base)
        for offset in self.offsets:
            self._reads[offset] = list(self._look(offset))

    def _look(self, offset: int) -> Iterator[int]:
        self.script.map(offset=offset)
        yield self.script.read()
        self.script.step("pause", str(self.milliseconds))
        yield self.script.read()
        self.script.step("munmap", "m")
        self.script.map(offset=offset)
        yield self.script.read()
        self.script.step("munmap", "m")
        self.script.reopen()
        self.script.map(offset=offset)
        yield self.script.read()
        self.script.step("munmap", "m")
        self.script.reopen()

    def unsteady(self, seen: Observation) -> Unsteady:
        """Return the pages that changed between two looks."""
        by_itself, by_mapping = set(), set()
        for offset, (first, later, *others) in self._reads.items():
            by_itself |= {(offset, page) for page in _differ(seen, first, later)}
            for other in others:
                by_mapping |= {(offset, page) for page in _differ(seen, first, other)}
        return Unsteady(frozenset(by_itself), frozenset(by_mapping - by_itself))


def _differ(seen: Observation, first: int, second: int) -> Iterator[int]:
    """Yield the pages that both readings could read, with different content."""
    before = {page["page"]: page.get("content") for page in seen[first].values["pages"]}
    for page in seen[second].values["pages"]:
        content = page.get("content")
        if None not in (content, before.get(page["page"])) and content != before[page["page"]]:
            yield page["page"]
