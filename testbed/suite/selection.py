# SPDX-License-Identifier: GPL-2.0
"""The tests that a session runs, and their order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest

from testbed.cache import digest
from testbed.suite.batch import state_of
from testbed.suite.item import arch_of
from testbed.suite.order import arranged, candidate, left_out

# The key of a session's selection.
SELECTION = pytest.StashKey["Selection"]()

# One in this many tests of a batch runs again, alone.
_SAMPLE = 100

# A share of tests is chosen by a digest of so many hexadecimal digits.
_SHARE_DIGITS = 8


@dataclass(frozen=True)
class Sample:
    """A part of the tests: those of some names, or a share that a seed chooses."""

    only: Collection[str] = ()  # node ids; empty: all
    part: float = 1.0  # of these
    seed: str = ""

    def takes(self, nodeid: str) -> bool:
        """Whether a test is in the sample. It is in each larger part of the same seed, too."""
        place = int(digest("sample", nodeid, self.seed)[:_SHARE_DIGITS], 16)
        return (not self.only or nodeid in self.only) and place < self.part * 16**_SHARE_DIGITS


@dataclass(frozen=True)
class Selection:
    """What a session runs of the tests that it collected. Without a seed: all, as collected."""

    seed: int | None = None  # of the order, and of the sample of tests that run again alone
    first: Sequence[str] = ()  # node ids of the tests that run first
    done: Collection[str] = ()  # node ids of tests that do not run
    quick: bool = False  # only the tests of a first answer
    late: Sequence[str] = ()  # architectures whose kernels are still being built
    sample: Sample = field(default_factory=Sample)

    def samples(self, nodeid: str) -> bool:
        """Whether a test runs again alone. Another seed selects other tests."""
        return self.seed is not None and int(digest(nodeid, str(self.seed)), 16) % _SAMPLE == 0


def selected(items: Sequence[pytest.Item], selection: Selection) -> list[pytest.Item]:
    """Return the tests that run, in their order."""
    done, sample = selection.done, selection.sample
    left = [item for item in items if item.nodeid not in done and sample.takes(item.nodeid)]
    if selection.seed is None:
        return ends_last(left)
    return arranged(
        left,
        first=selection.first,
        seed=str(selection.seed),
        states=state_of,
        only_quick=selection.quick,
    )


def left_out_line(items: Sequence[pytest.Item], chosen: Sequence[pytest.Item]) -> str:
    """Return one line on what a selection leaves out."""
    return left_out(*([candidate(item) for item in each] for each in (items, chosen)))


def ends_last(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return tests with those marked `last` behind the others of the same architecture."""
    arches = [arch_of(item) for item in items]
    ends = {arch: index for index, arch in enumerate(arches)}
    places = {
        item: (ends[arch], 1) if item.get_closest_marker("last") else (index, 0)
        for index, (item, arch) in enumerate(zip(items, arches, strict=True))
    }
    return sorted(items, key=places.__getitem__)
