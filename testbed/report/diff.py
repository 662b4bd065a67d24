# SPDX-License-Identifier: GPL-2.0
"""Two runs of the same tests side by side: what one kernel does and the other does not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from testbed.results.model import Case, Facts, Run, Status

_GOOD = frozenset({Status.PASS, Status.FIXED})

# What is another number on each boot, or in each build.
_UNSTEADY = re.compile(r"0x[0-9a-f]{4,}|-testbed-[0-9a-f]{16}|\bpid[= ]\d+|vm-[\w-]+-\d+")

ABSENT = "-"


class Kind(StrEnum):
    """What has become of a test."""

    BROKEN = "broken"  # it was good
    OTHERWISE = "fails otherwise"  # it was not good, and is not so in another way
    FIXED = "fixed"
    GONE = "gone"  # it ran, and does not any more: the reason is its skip's
    NEW = "new"  # it did not run before
    FACTS = "changed facts"  # it ends as it did, and saw something else


@dataclass(frozen=True)
class FactChange:
    """One place in which two observations of the same script differ."""

    where: str
    base: str
    new: str


@dataclass(frozen=True)
class Change:
    """One test that is not the same on both sides. A status of `-` is that of no such test."""

    kind: Kind
    test: str
    arch: str
    path: str
    base: str
    new: str
    reason: str  # in one line: of the failure or the skip, of the new side if it has one
    facts: tuple[FactChange, ...] = ()


@dataclass(frozen=True)
class Side:
    """One of the two runs, and by what name it was asked for."""

    name: str
    run: Run
    facts: Facts = field(default_factory=dict)

    @property
    def cases(self) -> dict[str, Case]:
        return {case.test: case for case in self.run.cases}


@dataclass(frozen=True)
class Comparison:
    """All that differs between two sides; no change at all where the kernels are equal."""

    base: Side
    new: Side
    changes: tuple[Change, ...]

    def of(self, kind: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind is kind]


def compare(base: Side, new: Side) -> Comparison:
    """What differs. Skipped on both sides is no difference, and neither is any time."""
    before, after = base.cases, new.cases
    tests = dict.fromkeys((*before, *after))
    changes = (
        _change(before.get(test), after.get(test), _test_changes(test, base.facts, new.facts))
        for test in tests
    )
    found = [change for change in changes if change is not None]
    order = list(Kind)
    return Comparison(base, new, tuple(sorted(found, key=lambda each: order.index(each.kind))))


def _change(
    before: Case | None, after: Case | None, facts: tuple[FactChange, ...]
) -> Change | None:
    kind = _kind(before, after, facts)
    case = after or before
    if kind is None or case is None:
        return None
    reasons = (side.reason for side in (after, before) if side is not None and side.reason)
    return Change(
        kind=kind,
        test=case.test,
        arch=case.arch,
        path=case.path,
        base=before.status if before else ABSENT,
        new=after.status if after else ABSENT,
        reason=next(reasons, ""),
        facts=facts,
    )


def _kind(before: Case | None, after: Case | None, facts: tuple[FactChange, ...]) -> Kind | None:
    ran, runs = (case is not None and case.status is not Status.SKIP for case in (before, after))
    if not (ran and runs):
        return Kind.GONE if ran else Kind.NEW if runs else None
    assert before is not None
    assert after is not None
    was_good, is_good = (case.status in _GOOD for case in (before, after))
    if was_good != is_good:
        return Kind.BROKEN if was_good else Kind.FIXED
    if not is_good and _headline(before) != _headline(after):
        return Kind.OTHERWISE
    return Kind.FACTS if facts else None


def _headline(case: Case) -> tuple[Status, str]:
    return case.status, _UNSTEADY.sub("...", case.reason)


def _test_changes(test: str, base: Facts, new: Facts) -> tuple[FactChange, ...]:
    """Differences between the observations of those scripts that ran on both sides."""
    before, after = base.get(test, {}), new.get(test, {})
    return tuple(
        change
        for script in before
        if script in after
        for change in fact_changes(before[script], after[script])
    )


def fact_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FactChange]:
    """The facts that differ, in the order in which they were seen."""
    for where in dict.fromkeys((*before, *after)):
        old, new = before.get(where, ABSENT), after.get(where, ABSENT)
        if old != new:
            yield FactChange(where, old, new)
