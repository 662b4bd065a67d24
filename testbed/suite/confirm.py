# SPDX-License-Identifier: GPL-2.0
"""Runs tests of a batch again, alone: those with an unexpected verdict, and a sample of the rest.

A test that fails only in its batch is a finding too: a test before it left something behind, in
the kernel or in the guest. The shortest beginning of the batch that makes it fail is searched.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from testbed.report.diff import FactChange, script_changes
from testbed.results.model import Attempt, Status
from testbed.results.reason import cause_of
from testbed.suite.carried import Carried, carried, carry
from testbed.suite.pytest_internals import run_again, run_phases

# Set while a test runs outside of its batch.
ALONE = pytest.StashKey[bool]()

# Failures with one cause that are confirmed; later ones are reported as they are.
_CONFIRMED = 50

# Tests that fail only in their batch, and whose shortest beginning is searched. A search runs the
# batch up to six times.
_SEARCHES = 5


@dataclass
class Confirmer:
    """Runs the tests of batches, and judges unexpected verdicts by a second run."""

    end_batches: Callable[[], None]  # the next test gets a pristine guest
    samples: Callable[[str], bool]  # whether a test runs again alone, whatever its verdict
    _causes: Counter[str] = field(default_factory=Counter)
    _searches: int = 0

    def run(
        self, item: pytest.Item, before: Sequence[pytest.Item], nextitem: pytest.Item | None
    ) -> list[pytest.TestReport]:
        """Run a test, and again if its verdict is unexpected. Return the reports that count.

        `before` are the tests that ran before in the same guest.
        """
        reports = run_phases(item, nextitem)
        seen = carried(reports)
        if seen.case.status.as_expected:
            if before and seen.case.status is not Status.SKIP and self.samples(item.nodeid):
                reports = self._compare(item, reports, nextitem)
        elif before:
            reports = self._confirm(item, before, reports, nextitem)
        return reports

    def _confirm(
        self,
        item: pytest.Item,
        before: Sequence[pytest.Item],
        reports: list[pytest.TestReport],
        nextitem: pytest.Item | None,
    ) -> list[pytest.TestReport]:
        seen = carried(reports)
        cause = f"{seen.case.error} {cause_of(seen.case.reason)}"
        if self._causes[cause] >= _CONFIRMED:
            note = f"not run again alone: {_CONFIRMED} tests with this cause were"
            return carry(reports, seen.with_note(note))
        alone = self._alone(item, nextitem)
        tries = (*seen.case.tries(alone=False), *carried(alone).case.tries(alone=True))
        if not carried(alone).case.status.as_expected:
            self._causes[cause] += 1
            return carry(alone, carried(alone).with_tries(tries))
        found = self._search(item, before, nextitem)
        found = dataclasses.replace(found, tries=(*tries, *found.tries))
        return carry(reports, only_after(seen, [each.nodeid for each in before], found))

    def _search(
        self, item: pytest.Item, before: Sequence[pytest.Item], nextitem: pytest.Item | None
    ) -> Beginning:
        """Find the shortest beginning of a batch after which a test fails.

        After some searches, it is all of the batch.
        """
        self._searches += 1
        if self._searches > _SEARCHES:
            return Beginning(len(before))
        again = self._after(item, before, nextitem).case
        tries = again.tries(alone=False)
        if again.status.as_expected:
            return Beginning(None, tries)
        count = shortest(
            len(before), lambda count: self._fails_after(item, before[:count], nextitem)
        )
        return Beginning(count, tries)

    def _fails_after(
        self, item: pytest.Item, before: Sequence[pytest.Item], nextitem: pytest.Item | None
    ) -> bool:
        return not self._after(item, before, nextitem).case.status.as_expected

    def _after(
        self, item: pytest.Item, before: Sequence[pytest.Item], nextitem: pytest.Item | None
    ) -> Carried:
        self.end_batches()
        for test, following in zip(before, [*before[1:], item], strict=True):
            run_again(test, following)
        reports = run_again(item, nextitem)
        self.end_batches()
        return carried(reports)

    def _alone(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        with _marked_alone(item):
            return run_again(item, nextitem)

    def _compare(
        self, item: pytest.Item, reports: list[pytest.TestReport], nextitem: pytest.Item | None
    ) -> list[pytest.TestReport]:
        """Compare a test in its batch with a run of it alone."""
        alone, again = carried(self._alone(item, nextitem)), None
        if _differences(carried(reports), alone):
            again = carried(self._alone(item, nextitem))
        return carry(reports, compared(carried(reports), alone, again))


@contextmanager
def _marked_alone(item: pytest.Item) -> Iterator[None]:
    item.stash[ALONE] = True
    try:
        yield
    finally:
        del item.stash[ALONE]


def shortest(count: int, fails_after: Callable[[int], bool]) -> int:
    """Return the smallest n with `fails_after(n)`, which is true for `count` and false for 0."""
    good, bad = 0, count
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if fails_after(middle) else (middle, bad)
    return bad


@dataclass(frozen=True)
class Beginning:
    """The shortest beginning of a batch that makes a test fail."""

    count: int | None  # of its tests; None: the test did not fail again
    tries: tuple[Attempt, ...] = ()


def only_after(seen: Carried, before: Sequence[str], beginning: Beginning) -> Carried:
    """Return the result of a test that fails in its batch only."""
    count = beginning.count
    tests = before if count is None else before[:count]
    last = tests[-1].rpartition("::")[2]
    how = f"only after {last}" if count == 1 else f"only after {len(tests)} tests, at last {last}"
    if count is None:
        how += ", and not each time"
    note = "alone, the test passes. Tests before it in its guest:\n" + "\n".join(tests)
    reason = f"{how}: {seen.case.reason}"
    case = dataclasses.replace(seen.case, reason=reason, attempts=beginning.tries)
    return dataclasses.replace(seen, case=case).with_note(note)


def compared(batch: Carried, alone: Carried, again: Carried | None) -> Carried:
    """Return the result of a test that ran in a batch and once or twice alone.

    Facts that differ between the two runs alone are unsteady: they say nothing about the batch.
    """
    if again is None:
        return batch
    unsteady = {change.where for change in _differences(alone, again)}
    found = [change for change in _differences(batch, alone) if change.where not in unsteady]
    if not found:
        return batch
    reason = f"its facts in a batch are not those of the test alone: {found[0].where}"
    lines = [f"{each.where}: {each.base} in the batch, {each.new} alone" for each in found]
    case = dataclasses.replace(batch.case, status=Status.FAIL, reason=reason)
    return dataclasses.replace(batch, case=case).with_note("\n".join(lines))


def _differences(one: Carried, other: Carried) -> list[FactChange]:
    found = list(script_changes(one.facts, other.facts))
    if one.case.status is not other.case.status:
        found.insert(0, FactChange("status", one.case.status, other.case.status))
    return found
