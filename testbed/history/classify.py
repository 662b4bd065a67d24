# SPDX-License-Identifier: GPL-2.0
"""The findings of a night: what each lane says about the tests that are not simply well.

Few results are unusual, and an index finds them: all results of a window are read only of tests
that had one. judging.py then gives each test its class.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Connection, select

from testbed.history import schema
from testbed.history.cells import (
    cell_before,
    cell_of,
    cells_of,
    lane_cells,
    point_of,
    stand_in,
)
from testbed.history.judging import Entry, Standing, Try, standing
from testbed.history.records import BAD, GOOD, Cell, CellState, Class, Finding, Signature
from testbed.history.rows import chunks, codes, signatures, test_names
from testbed.history.schema import STATUS_CODES, STATUSES, UNUSUAL, VERDICT
from testbed.history.streak import Streak, Streaks
from testbed.results.model import Status

# The cells of a lane that a class depends on, the night's included.
WINDOW = 20

# What a night without new results may still say about a lane, and in which words.
_STANDS = {
    Class.NEW: Class.STILL,
    Class.OTHERWISE: Class.STILL,
    Class.STILL: Class.STILL,
    Class.FLAKY: Class.FLAKY,
    Class.CHANGED: Class.CHANGED,
}


def classify(connection: Connection, run: int, window: int = WINDOW) -> list[Finding]:
    """Return what a run says about each lane, by urgency.

    A cell that was not run, because its result is known, counts as if it had that result tonight.
    If the lane's cell before it was the same experiment, what was new then is not new again.
    """
    found: list[Finding] = []
    by_lane: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells_of(connection, run):
        by_lane[cell.lane_id].append(cell)
    for cells in by_lane.values():
        done = [cell for cell in cells if cell.state is CellState.DONE]
        known = [cell for cell in cells if cell.state is CellState.KNOWN]
        if done:
            found += _Night.of(connection, done, window).findings()
        elif known and (other := stand_in(connection, known[-1])):
            tonight = _in_place_of(known[-1], other)
            findings = _Night.of(connection, [tonight], window).findings()
            before = cell_before(connection, known[-1])
            same = before is not None and before.content == other.content
            found += _standing_still(findings) if same else findings
    order = list(Class)
    return sorted(found, key=lambda each: (order.index(each.kind), each.lane, each.test))


def _standing_still(findings: Iterable[Finding]) -> Iterator[Finding]:
    for found in findings:
        if found.kind in _STANDS:
            yield dataclasses.replace(found, kind=_STANDS[found.kind])


class _Result(NamedTuple):
    """The columns of a result that a class depends on. A night reads thousands of them."""

    cell: int
    test: int
    attempt: int
    status: int
    alone: bool
    signature: int | None


def _in_place_of(known: Cell, other: Cell) -> Cell:
    """Return the cell with the results that stand for one that was not run."""
    return dataclasses.replace(other, lane=known.lane, lane_id=known.lane_id, seq=known.seq)


@dataclass(frozen=True)
class _Night:
    """One lane in one night."""

    connection: Connection
    cells: Sequence[Cell]  # of the night, oldest first
    window: Mapping[int, Cell]  # by id, oldest first; the night's are among them

    @classmethod
    def of(cls, connection: Connection, cells: Sequence[Cell], window: int) -> _Night:
        last = cells[-1]
        seen = lane_cells(connection, last.lane_id, last.seq, max(window, len(cells)))
        by_id = {cell.id: cell for cell in seen}
        # Results that also stand for later cells have the place of the last one.
        since = min((cell.seq for cell in seen), default=0)
        others = lane_cells(connection, last.lane_id, last.seq, state=CellState.KNOWN)
        for known in {cell.content: cell for cell in others if cell.seq > since}.values():
            if other := stand_in(connection, known):
                by_id[other.id] = _in_place_of(known, other)
        ordered = sorted(by_id.values(), key=lambda cell: cell.seq)
        return cls(connection, cells, {cell.id: cell for cell in ordered})

    @property
    def lane(self) -> int:
        return self.cells[0].lane_id

    @cached_property
    def tonight(self) -> frozenset[int]:
        return frozenset(cell.id for cell in self.cells)

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each test that has one."""
        pasts = dict(self._pasts(self._suspects()))
        stand = {test: found for test, past in pasts.items() if (found := standing(past))}
        others = {**self._changed(), **self._gone()}
        others = {test: found for test, found in others.items() if test not in stand}
        names = test_names(self.connection, {*stand, *others})
        streaks = Streaks(self.connection, self.window).of({test: pasts[test] for test in stand})
        for test, found in stand.items():
            yield self._finding(names[test], found, streaks[test])
        for test, other in others.items():
            yield dataclasses.replace(other, test=names[test])

    def _suspects(self) -> set[int]:
        """Return the tests that may have a class: the others were well in the whole window."""
        earlier = self.window.keys() - self.tonight
        known = self._with(earlier, {Status.XFAIL}) - self._with(self.tonight, {Status.XFAIL})
        return known | self._with(self.window, BAD) | self._with(self.tonight, {Status.MISS})

    def _with(self, cells: Iterable[int], statuses: Collection[Status]) -> set[int]:
        """Return the tests that have one of these statuses, all unusual, in one of the cells."""
        result = schema.result
        where = (result.c.cell.in_(list(cells)), result.c.status.in_(codes(statuses)), UNUSUAL)
        return set(self.connection.scalars(select(result.c.test).where(*where).distinct()))

    def _pasts(self, tests: Collection[int]) -> Iterator[tuple[int, list[Entry]]]:
        """Yield the results of tests in the window, in the order of cells."""
        table, rows = schema.result, list[_Result]()
        columns = (table.c[name] for name in _Result._fields)
        query = select(*columns)
        for chunk in chunks(sorted(tests)):
            where = (table.c.cell.in_(list(self.window)), table.c.test.in_(chunk))
            rows += map(_Result._make, self.connection.execute(query.where(*where)))
        titles = signatures(self.connection, {row.signature for row in rows})
        place = {cell: number for number, cell in enumerate(self.window)}
        rows.sort(key=lambda row: (row.test, place[row.cell], row.attempt))  # VERDICT is the first
        for test, its in groupby(rows, key=attrgetter("test")):
            by_cell = groupby(its, key=attrgetter("cell"))
            yield test, [self._entry(cell, *tried, titles=titles) for cell, tried in by_cell]

    def _entry(
        self,
        cell: int,
        verdict: _Result,
        *tries: _Result,
        titles: Mapping[int | None, Signature],
    ) -> Entry:
        return Entry(
            cell=cell,
            content=self.window[cell].content,
            tonight=cell in self.tonight,
            status=STATUSES[verdict.status],
            signature=titles.get(verdict.signature),
            tries=tuple(Try(STATUSES[row.status], row.alone) for row in tries),
        )

    def _finding(self, test: str, found: Standing, streak: Streak) -> Finding:
        now, before = found.now, found.before
        cell = self.window[now.cell]
        return Finding(
            kind=found.kind,
            lane=cell.lane,
            lane_id=cell.lane_id,
            cell=cell.id,
            test=test,
            status=now.status,
            signature=now.signature,
            before=before.status if before else None,
            before_signature=before.signature if before else None,
            before_at=point_of(self.window[before.cell]) if before else None,
            bad=found.bad,
            total=found.total,
            first_bad=streak.first_bad,
            last_good=streak.last_good,
            defect=found.defect,
        )

    def _gone(self) -> dict[int, Finding]:
        """Return the tests that ran in the last whole cell, and not in that of the night."""
        whole = [cell for cell in self.window.values() if not cell.partial]
        now = next((cell for cell in reversed(whole) if cell.id in self.tonight), None)
        before = next((cell for cell in reversed(whole) if cell.id not in self.tonight), None)
        if now is None or before is None:
            return {}
        old, new = schema.result.alias("old"), schema.result.alias("new")
        same = (new.c.cell == now.id) & (new.c.test == old.c.test) & (new.c.attempt == VERDICT)
        skipped = new.c.status == STATUS_CODES[Status.SKIP]
        query = (
            select(old.c.test, old.c.status, new.c.status.label("now"), new.c.signature)
            .select_from(old.outerjoin(new, same))
            .where(old.c.cell == before.id, old.c.attempt == VERDICT)
            .where(old.c.status.in_(codes(BAD | GOOD)), new.c.status.is_(None) | skipped)
        )
        rows = self.connection.execute(query).all()
        titles = signatures(self.connection, {row.signature for row in rows})
        return {
            row.test: dataclasses.replace(
                _unnamed(Class.GONE, now),
                status=STATUSES.get(row.now),
                signature=titles.get(row.signature),
                before=STATUSES[row.status],
                before_at=point_of(before),
            )
            for row in rows
        }

    def _changed(self) -> dict[int, Finding]:
        """Return the tests that are well, and saw other facts than they should see."""
        result, baseline = schema.result, schema.baseline
        same = (baseline.c.lane == self.lane) & (baseline.c.test == result.c.test)
        query = (
            select(result.c.test, result.c.cell, result.c.status, baseline.c.cell.label("base"))
            .join(baseline, same)
            .where(result.c.cell.in_(sorted(self.tonight)), result.c.attempt == VERDICT)
            .where(result.c.status.in_(codes(GOOD)))
            .where(result.c.observation != baseline.c.observation)
        )
        rows = self.connection.execute(query).all()
        bases = {base: cell_of(self.connection, base) for base in {row.base for row in rows}}
        return {
            row.test: dataclasses.replace(
                _unnamed(Class.CHANGED, self.window[row.cell]),
                status=STATUSES[row.status],
                baseline=point_of(bases[row.base]),
            )
            for row in rows
        }


def _unnamed(kind: Class, cell: Cell) -> Finding:
    return Finding(
        kind=kind, lane=cell.lane, lane_id=cell.lane_id, cell=cell.id, test="", status=None
    )
