# SPDX-License-Identifier: GPL-2.0
"""Where the bad outcomes of tests began: the first bad cell, and the last good one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from testbed.history import schema
from testbed.history.cells import point_of, points
from testbed.history.judging import Entry
from testbed.history.records import BAD, GOOD, Cell, Point
from testbed.history.rows import chunks, codes
from testbed.history.schema import VERDICT


@dataclass(frozen=True)
class Streak:
    """Bad outcomes in a row: to now, or to the last bad outcome of a test that is well now."""

    first_bad: Point | None = None
    last_good: Point | None = None


@dataclass(frozen=True)
class Streaks:
    """Finds the streaks of tests in one lane."""

    connection: Connection
    window: Mapping[int, Cell]  # by id, oldest first

    def of(self, pasts: Mapping[int, Sequence[Entry]]) -> dict[int, Streak]:
        """Return the streak of each test, by its results in the window."""
        ends = {test: ends_of(past) for test, past in pasts.items()}
        older = self._older([test for test, (first, good) in ends.items() if first and not good])
        known = points(
            self.connection, self._lane, {seq for each in older.values() for seq in each}
        )
        found = {}
        for test, (first, good) in ends.items():
            before = [known.get(seq) for seq in older.get(test, (0, 0))]
            found[test] = Streak(before[0] or self._point(first), before[1] or self._point(good))
        return found

    @property
    def _lane(self) -> int:
        return next(iter(self.window.values())).lane_id

    def _point(self, entry: Entry | None) -> Point | None:
        return point_of(self.window[entry.cell]) if entry else None

    def _older(self, tests: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return for streaks that began before the window the numbers of two cells; 0 is none.

        They are the first bad one, and the last good one before it.
        """
        result, cell = schema.result, schema.cell
        begin = min(each.seq for each in self.window.values())
        older = (cell.c.lane == self._lane, cell.c.seq < begin, result.c.attempt == VERDICT)
        rows = select(result.c.test, cell.c.seq).join(cell, cell.c.id == result.c.cell)
        found = {}
        for chunk in chunks(tests):
            asked = rows.where(*older, result.c.test.in_(chunk)).order_by(cell.c.seq)
            good = asked.where(result.c.status.in_(codes(GOOD)))
            bad = asked.where(result.c.status.in_(codes(BAD)))
            last = {row.test: row.seq for row in self.connection.execute(good)}
            streak = reversed(self.connection.execute(bad).all())
            first = {test: seq for test, seq in streak if seq > last.get(test, 0)}
            found.update({test: (first.get(test, 0), last.get(test, 0)) for test in chunk})
        return found


def ends_of(past: Sequence[Entry]) -> tuple[Entry | None, Entry | None]:
    """Return the first bad result of the last streak, and the good one before it."""
    first, last_good = None, None
    for entry in reversed([entry for entry in past if entry.counts]):
        if entry.is_bad:
            first = entry
        elif first is not None:
            last_good = entry
            break
    return first, last_good
