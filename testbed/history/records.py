# SPDX-License-Identifier: GPL-2.0
"""The values of a history. They know no database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from testbed.cache import digest
from testbed.results.model import Facts, Run, Status, TestFacts
from testbed.results.reason import cause_of

# The outcomes that say something about a kernel. MISS and SKIP are neither good nor bad.
BAD = frozenset({Status.FAIL, Status.ERROR})
GOOD = frozenset({Status.PASS, Status.FIXED, Status.XFAIL})


@dataclass(frozen=True, kw_only=True, order=True)
class Lane:
    """What may be compared from night to night. Equal lanes have equal fields."""

    matrix: str  # the name of the matrix; of a run that a person started: empty
    stream: str  # of kernels, as the matrix names it: debian:7.3, tree:~/linux@next
    arch: str
    series: str = ""
    flavour: str = "base"
    isolation: str = "batch"
    accel: str = "tcg"
    kind: str = "tests"  # of its cells: an entry of the nightly's table

    @property
    def key(self) -> str:
        """The lane in one line, which is unique in a history. People may name it by that."""
        words = [self.stream, self.series, self.arch, self.flavour, self.isolation, self.accel]
        lead = [self.matrix] if self.matrix else []
        kind = [self.kind] if self.kind != "tests" else []
        return " ".join(word for word in (*lead, *words, *kind) if word)


class CellState(StrEnum):
    """What a history has of a cell."""

    DONE = "done"  # results
    KNOWN = "known"  # it was not run: an earlier cell of its lane has an equal content
    LOST = "lost"  # no result; the cell has the reason


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One experiment of one run."""

    id: int
    run: int
    run_name: str
    lane: Lane
    lane_id: int
    seq: int  # its number in its lane: the order of nights, whatever clocks said
    content: str  # equal: the same experiment
    state: CellState
    partial: bool = False  # tests were left out: their absence means nothing
    kernel: str = ""  # the guest's `uname -r`
    started: str = ""  # of its run; ISO 8601, UTC
    seconds: float = 0.0
    artifact: str = ""  # the name of its files in the artifact store; empty: none, or removed
    reason: str = ""  # why it is lost
    environment: Mapping[str, Any] = field(default_factory=dict)  # as results/model.py has it


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """What a cell has found, to be recorded."""

    content: str
    run: Run  # its cases of other architectures than the lane's are not recorded
    facts: Facts = field(default_factory=dict)
    partial: bool = False
    seconds: float = 0.0
    artifact: str = ""


@dataclass(frozen=True)
class Signature:
    """A failure without what differs from run to run."""

    kind: str  # the class of the error; may be empty
    title: str  # its reason, without what differs from run to run

    @property
    def text(self) -> str:
        return f"{self.kind}: {self.title}" if self.kind else self.title

    @property
    def cause(self) -> str:
        """What it shares with failures of other tests. Equal: they have one cause."""
        return f"{self.kind}: {cause_of(self.title)}"

    @property
    def digest(self) -> str:
        return digest(self.kind, self.title)


@dataclass(frozen=True)
class Observed:
    """The digests of what a test saw. Facts of other scripts cannot be compared."""

    digest: str  # of the scripts and their facts
    scripts: str

    @classmethod
    def of(cls, facts: TestFacts) -> Observed:
        # A night has tens of megabytes of facts: json.dumps takes twice as long.
        parts: list[str] = []
        for script in sorted(facts):
            seen = facts[script]
            places = sorted(seen)
            parts += [script, str(len(places)), *places, *map(seen.__getitem__, places)]
        return cls(digest(*parts), digest(*sorted(facts)))


class Class(StrEnum):
    """What a night says about a test in its lane, by urgency."""

    NEW = "new"  # bad, and good before or without a past
    OTHERWISE = "otherwise"  # bad as before, with another signature
    CHANGED = "changed"  # good as before, and other facts than those that were accepted
    STILL = "still"  # bad as before
    FLAKY = "flaky"  # both outcomes of one experiment, or three flips in the window
    GONE = "gone"  # it ran on the night before
    FIXED = "fixed"  # good, and bad before; or a recorded defect that did not show
    INFRA = "infra"  # the host or the testbed kept it from running

    @property
    def wants_attention(self) -> bool:
        """Whether a night with such a finding ends with status 1."""
        return self in (Class.NEW, Class.OTHERWISE)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One cell of a test's past."""

    cell: int
    seq: int
    run: str  # its name
    kernel: str
    commit: str = ""  # of the kernel, if it came from git
    artifact: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One test in one lane that a night has something to say about."""

    kind: Class
    lane: Lane
    lane_id: int
    cell: int  # of the night
    test: str
    status: Status | None  # None: the test is gone
    signature: Signature | None = None
    before: Status | None = None  # its last good or bad outcome before the night
    before_signature: Signature | None = None
    before_at: Point | None = None
    bad: int = 0  # n: bad outcomes in the window
    total: int = 0  # m: good and bad outcomes in the window
    first_bad: Point | None = None  # the begin of its bad outcomes, to now or to before_at
    last_good: Point | None = None  # before first_bad
    baseline: Point | None = None  # where the facts were seen that a changed test should see
    defect: str = ""  # the recorded defect that may be fixed, or that the failure is now known as

    @property
    def failure(self) -> Signature | None:
        """How it fails tonight; of a test that is well, how it failed before."""
        return self.signature or self.before_signature

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of its rate of bad outcomes, at 95 %."""
        return wilson(self.bad, self.total)


@dataclass(frozen=True, kw_only=True)
class Square:
    """One outcome in a strip. Without a status the test did not run in that cell."""

    seq: int
    run: str
    kernel: str
    cell: int
    status: Status | None
    both: bool = False  # tries of it had both outcomes


@dataclass(frozen=True)
class Tried:
    """A verdict on a test, or one try of it."""

    status: Status
    alone: bool  # no other test had used its guest
    signature: Signature | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """The result of a test in one cell."""

    cell: Cell
    verdict: Tried
    tries: tuple[Tried, ...] = ()  # in order, if there were several

    @property
    def both(self) -> bool:
        """Whether tries of it had both outcomes."""
        return has_both(each.status for each in (self.verdict, *self.tries))


@dataclass(frozen=True, kw_only=True)
class LaneNight:
    """One lane in an overview of a night."""

    lane: Lane
    lane_id: int
    cells: tuple[Cell, ...]  # of the night, oldest first
    counts: Mapping[Status, int]  # of these cells, or of the known one that stands for them
    trend: tuple[int, ...]  # bad tests of the last cells with results, oldest first


@dataclass(frozen=True, kw_only=True)
class PathCounts:
    """The results of one cell by path."""

    run: str
    kernel: str
    counts: Mapping[str, int]


def has_both(statuses: Iterable[Status]) -> bool:
    """Whether there are good and bad outcomes among them."""
    seen = set(statuses)
    return bool(seen & BAD) and bool(seen & GOOD)


# The 0.975 quantile of the normal distribution.
_Z = 1.959964


def wilson(bad: int, total: int) -> tuple[float, float]:
    """Return the Wilson score interval of a rate, at 95 % (E. B. Wilson, 1927).

    Unlike the normal interval it is right for few samples, and for rates near 0 and 1.
    """
    if total == 0:
        return 0.0, 1.0
    rate, z2 = bad / total, _Z * _Z
    centre = rate + z2 / (2 * total)
    spread = _Z * math.sqrt(rate * (1 - rate) / total + z2 / (4 * total * total))
    scale = 1 + z2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
