# SPDX-License-Identifier: GPL-2.0
"""What pages and `testbed history` show: lanes with their trends, strips, and pasts of tests."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, func, select

from testbed.history import schema
from testbed.history.cells import cells_of, lane_cells, lanes, stand_in
from testbed.history.records import (
    BAD,
    Cell,
    CellState,
    Lane,
    LaneNight,
    Outcome,
    PathCounts,
    Square,
    Tried,
    has_both,
)
from testbed.history.rows import chunks, find_ids, signatures
from testbed.history.schema import STATUSES
from testbed.results.model import Status

# The nights of a trend, and the squares of a strip.
NIGHTS = 31
SQUARES = 20


def night(connection: Connection, run: int, nights: int = NIGHTS) -> list[LaneNight]:
    """Return the lanes of a run, each with its counts and the trend of its last nights."""
    by_lane: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells_of(connection, run):
        by_lane[cell.lane_id].append(cell)
    found = [_lane_night(connection, cells, nights) for cells in by_lane.values()]
    return sorted(found, key=lambda each: each.lane)


def _lane_night(connection: Connection, cells: Sequence[Cell], nights: int) -> LaneNight:
    last = cells[-1]
    past = lane_cells(connection, last.lane_id, last.seq, nights)
    shown = [cell.id for cell in cells if cell.state is CellState.DONE]
    if not shown and last.state is CellState.KNOWN and (known := stand_in(connection, last)):
        shown = [known.id]
    totals = _totals(connection, [*shown, *(cell.id for cell in past)])
    return LaneNight(
        lane=last.lane,
        lane_id=last.lane_id,
        cells=tuple(cells),
        counts=sum((totals[cell] for cell in shown), Counter[Status]()),
        trend=tuple(sum(totals[cell.id][status] for status in BAD) for cell in past),
    )


def _totals(connection: Connection, cells: Sequence[int]) -> dict[int, Counter[Status]]:
    """Return how often each status occurred, by cell."""
    table = schema.tally
    rows = select(table.c.cell, table.c.status, func.sum(table.c.n))
    rows = rows.where(table.c.cell.in_(cells)).group_by(table.c.cell, table.c.status)
    found: dict[int, Counter[Status]] = {cell: Counter() for cell in cells}
    for cell, code, n in connection.execute(rows):
        found[cell][STATUSES[code]] = int(n)
    return found


def tallies(connection: Connection, cell: int) -> dict[tuple[str, Status], int]:
    """Return how often each status occurred in a cell, by path (`Case.row`)."""
    table = schema.tally
    rows = select(table.c.path, table.c.status, table.c.n).where(table.c.cell == cell)
    return {(path, STATUSES[code]): n for path, code, n in connection.execute(rows)}


def path_counts(
    connection: Connection, lane: int, until: int | None = None, nights: int = NIGHTS
) -> list[PathCounts]:
    """Return the number of results by path, in the last cells of a lane, oldest first."""
    table, cells = schema.tally, lane_cells(connection, lane, until, nights)
    rows = select(table.c.cell, table.c.path, func.sum(table.c.n))
    rows = rows.where(table.c.cell.in_([cell.id for cell in cells]))
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for cell, path, n in connection.execute(rows.group_by(table.c.cell, table.c.path)):
        counts[cell][path] = int(n)
    return [
        PathCounts(run=cell.run_name, kernel=cell.kernel, counts=counts[cell.id]) for cell in cells
    ]


def strips(
    connection: Connection,
    lane: int,
    tests: Collection[str],
    until: int | None = None,
    count: int = SQUARES,
) -> dict[str, tuple[Square, ...]]:
    """Return the last outcomes of tests in a lane, oldest first, one for each cell with results.

    Args:
        until: the number of the last cell (`Cell.seq`); None: the newest.
    """
    cells = lane_cells(connection, lane, until, count)
    ids = find_ids(connection, schema.test.c.nodeid, tests)
    seen = _statuses(connection, [cell.id for cell in cells], list(ids.values()))
    return {
        test: tuple(_square(cell, seen.get((cell.id, ids[test]), ())) for cell in cells)
        for test in tests
        if test in ids
    }


def _statuses(
    connection: Connection, cells: Sequence[int], tests: Sequence[int]
) -> dict[tuple[int, int], list[Status]]:
    """Return the verdict and the tries of each test in each cell, in the order of attempts."""
    table = schema.result
    query = select(table.c.cell, table.c.test, table.c.status)
    found: dict[tuple[int, int], list[Status]] = defaultdict(list)
    for chunk in chunks(tests):
        where = (table.c.cell.in_(cells), table.c.test.in_(chunk))
        rows = query.where(*where).order_by(table.c.cell, table.c.test, table.c.attempt)
        for cell, test, code in connection.execute(rows):
            found[cell, test].append(STATUSES[code])
    return found


def _square(cell: Cell, statuses: Sequence[Status]) -> Square:
    return Square(
        seq=cell.seq,
        run=cell.run_name,
        kernel=cell.kernel,
        cell=cell.id,
        status=statuses[0] if statuses else None,
        both=has_both(statuses),
    )


def past(connection: Connection, lane: int, test: str, count: int | None = None) -> list[Outcome]:
    """Return the past of a test in a lane, oldest first: in all cells, or in the last `count`."""
    found = _outcomes(connection, lane_cells(connection, lane, count=count), [test])
    return found.get(test, [])


def pasts(
    connection: Connection, tests: Collection[str], count: int
) -> dict[str, dict[Lane, list[Outcome]]]:
    """Return the pasts of tests in all lanes that know them: in the last `count` cells of each."""
    found: dict[str, dict[Lane, list[Outcome]]] = {test: {} for test in tests}
    for lane_id, lane in sorted(lanes(connection).items(), key=lambda item: item[1]):
        cells = lane_cells(connection, lane_id, count=count)
        for test, outcomes in _outcomes(connection, cells, tests).items():
            found[test][lane] = outcomes
    return found


def _outcomes(
    connection: Connection, cells: Sequence[Cell], tests: Collection[str]
) -> dict[str, list[Outcome]]:
    """Return the results of tests in cells, in the order of these."""
    table, by_id = schema.result, {cell.id: cell for cell in cells}
    names = {key: test for test, key in find_ids(connection, schema.test.c.nodeid, tests).items()}
    rows = list[Row[*tuple[Any, ...]]]()
    for chunk in chunks(list(names)):
        where = (table.c.cell.in_(list(by_id)), table.c.test.in_(chunk))
        rows += connection.execute(select(table).where(*where)).all()
    titles = signatures(connection, {row.signature for row in rows})
    rows.sort(key=lambda row: (row.test, by_id[row.cell].seq, row.attempt))
    found: dict[str, list[Outcome]] = {}
    for (test, cell), its in groupby(rows, key=lambda row: (row.test, row.cell)):
        verdict, *tries = (
            Tried(STATUSES[row.status], row.alone, titles.get(row.signature), row.seconds)
            for row in its
        )
        outcome = Outcome(by_id[cell], verdict, tuple(tries))
        found.setdefault(names[test], []).append(outcome)
    return found


def matching_tests(connection: Connection, pattern: str) -> list[str]:
    """Return the tests whose node id contains a text. A `*` in it stands for anything."""
    words = [re.sub(r"([%_\\])", r"\\\1", word) for word in pattern.split("*")]
    like = f"%{'%'.join(words)}%"
    name = schema.test.c.nodeid
    rows = select(name).where(name.like(like, escape="\\")).order_by(name)
    return list(connection.scalars(rows))


def lanes_of(connection: Connection, test: str) -> dict[int, Lane]:
    """Return the lanes in which a test has a result, by their ids."""
    result, cell = schema.result, schema.cell
    test_id = find_ids(connection, schema.test.c.nodeid, [test]).get(test)
    query = select(cell.c.lane).join(result, result.c.cell == cell.c.id).distinct()
    found = set(connection.scalars(query.where(result.c.test == test_id)))
    known = {key: lane for key, lane in lanes(connection).items() if key in found}
    return dict(sorted(known.items(), key=lambda item: item[1]))
