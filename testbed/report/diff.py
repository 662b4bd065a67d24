# SPDX-License-Identifier: GPL-2.0
"""The differences between two runs of the same tests. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from testbed.results.model import Case, Facts, Run, Status, TestFacts

_GOOD = frozenset({Status.PASS, Status.FIXED})

# Parts of a reason that differ on each boot, or in each build.
_UNSTEADY = re.compile(r"0x[0-9a-f]{4,}|-testbed-[0-9a-f]{16}|\bpid[= ]\d+|vm-[\w-]+-\d+")

ABSENT = "-"


class Kind(StrEnum):
    """The kind of a change of one test."""

    BROKEN = "broken"  # good on the base, bad on the new side
    OTHERWISE = "fails differently"  # bad on both sides, with another status or reason
    FIXED = "fixed"  # bad on the base, good on the new side
    GONE = "gone"  # ran on the base only; a skip gives the reason
    NEW = "new"  # ran on the new side only
    FACTS = "changed facts"  # the same result, with different observations


@dataclass(frozen=True)
class FactChange:
    """One place where two observations of the same script differ."""

    where: str
    base: str
    new: str


@dataclass(frozen=True)
class Change:
    """One test that differs between the sides. A status of `-` means that a side lacks the test."""

    kind: Kind
    test: str
    arch: str
    path: str
    base: str
    new: str
    reason: str  # of the failure or skip, one line; the new side's if it has one
    facts: tuple[FactChange, ...] = ()


@dataclass(frozen=True)
class Side:
    """One of the two runs, and the name by which the user requested it."""

    name: str
    run: Run
    facts: Facts = field(default_factory=dict)

    @property
    def cases(self) -> dict[str, Case]:
        return {case.test: case for case in self.run.cases}


@dataclass(frozen=True)
class Comparison:
    """All differences between two sides; equal kernels have none."""

    base: Side
    new: Side
    changes: tuple[Change, ...]

    def of(self, kind: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind is kind]


def compare(base: Side, new: Side) -> Comparison:
    """Compare two sides. Times, and tests that both sides skip, do not count as differences."""
    before, after = base.cases, new.cases
    tests = dict.fromkeys((*before, *after))
    changes = (
        _change(
            before.get(test),
            after.get(test),
            script_changes(base.facts.get(test, {}), new.facts.get(test, {})),
        )
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


def script_changes(before: TestFacts, after: TestFacts) -> tuple[FactChange, ...]:
    """Return the differences between observations of those scripts of a test that ran twice."""
    return tuple(
        change
        for script in before
        if script in after
        for change in fact_changes(before[script], after[script])
    )


def fact_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FactChange]:
    """Yield the facts that differ, in the order of observation."""
    for where in dict.fromkeys((*before, *after)):
        old, new = before.get(where, ABSENT), after.get(where, ABSENT)
        if old != new:
            yield FactChange(where, old, new)
