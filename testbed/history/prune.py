# SPDX-License-Identifier: GPL-2.0
"""Retention: rows stay for ever, the files of cells for a time that depends on what they show.

The decision is pure. The cells where a failure began, and where a test was last good, keep their
files for ever, as do those that later nights are compared with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sqlalchemy import Connection, select, update

from testbed.history import schema
from testbed.history.records import BAD, GOOD
from testbed.history.rows import chunks, codes
from testbed.history.schema import STATUSES, UNUSUAL, VERDICT
from testbed.results.model import Status

# The newest cells of a lane that keep their files whatever a clock says.
_NEWEST = 2

# A failure that lasted for so many cells keeps the files of its ends for ever.
_LASTED = 2


@dataclass(frozen=True)
class Retention:
    """The days for which the files of cells stay."""

    green: int = 14  # all results were as expected
    bad: int = 90


@dataclass(frozen=True)
class Stored:
    """A cell whose files are in the artifact store."""

    cell: int
    artifact: str
    started: str  # ISO 8601, UTC; of its run
    green: bool
    pinned: bool  # its files stay for ever


def expendable(stored: Iterable[Stored], now: datetime, retention: Retention) -> list[str]:
    """Return the names of the files that may go: no cell with these files needs them.

    A cell without a time that can be read keeps its files.
    """
    needed: dict[str, bool] = defaultdict(bool)
    for each in stored:
        needed[each.artifact] |= each.pinned or not _is_old(each, now, retention)
    return [artifact for artifact, is_needed in needed.items() if not is_needed]


def _is_old(stored: Stored, now: datetime, retention: Retention) -> bool:
    try:
        started = datetime.fromisoformat(stored.started)
    except ValueError:
        return False
    if started.tzinfo is None:
        started = started.replace(tzinfo=UTC)
    days = retention.green if stored.green else retention.bad
    return now - started > timedelta(days=days)


def ends(outcomes: Sequence[tuple[int, bool]]) -> set[int]:
    """Return the first bad cell of each failure that lasted, or lasts, and the good one before.

    Args:
        outcomes: of one test, in the order of cells: the cell, and whether the outcome is bad.
    """
    found: set[int] = set()
    last_good, place = None, 0
    for is_bad, group in groupby(outcomes, key=lambda outcome: outcome[1]):
        cells = [cell for cell, _ in group]
        place += len(cells)
        if is_bad and (len(cells) >= _LASTED or place == len(outcomes)):
            found |= {cells[0]} | ({last_good} if last_good is not None else set())
        last_good = cells[-1]
    return found


def stored_cells(connection: Connection) -> list[Stored]:
    """Return all cells whose files are in the store."""
    cell, run = schema.cell, schema.run
    query = (
        select(cell.c.id, cell.c.lane, cell.c.artifact, run.c.started)
        .join(run, run.c.id == cell.c.run)
        .where(cell.c.artifact != "")
        .order_by(cell.c.lane, cell.c.seq)
    )
    rows = connection.execute(query).all()
    bad, pinned = _with_unexpected(connection), _pinned(connection, {row.lane for row in rows})
    for _, group in groupby(rows, key=lambda row: row.lane):
        pinned |= {row.id for row in list(group)[-_NEWEST:]}
    return [
        Stored(row.id, row.artifact, row.started, row.id not in bad, row.id in pinned)
        for row in rows
    ]


def _with_unexpected(connection: Connection) -> set[int]:
    """Return the cells with a result that is not as expected."""
    unexpected = [status for status in Status if not status.as_expected]
    table = schema.tally
    query = select(table.c.cell).where(table.c.status.in_(codes(unexpected))).distinct()
    return set(connection.scalars(query))


def _pinned(connection: Connection, lanes: Iterable[int]) -> set[int]:
    """Return the cells whose files stay for ever."""
    found = set(connection.scalars(select(schema.baseline.c.cell).distinct()))
    for lane in lanes:
        for outcomes in _outcomes(connection, lane):
            found |= ends(outcomes)
    return found


def _outcomes(connection: Connection, lane: int) -> Iterator[list[tuple[int, bool]]]:
    """Yield the outcomes of each test of a lane that was ever bad there."""
    result, cell = schema.result, schema.cell
    rows = select(result.c.test, result.c.cell, result.c.status)
    rows = rows.join(cell, cell.c.id == result.c.cell)
    rows = rows.where(cell.c.lane == lane, result.c.attempt == VERDICT)
    bad = rows.where(UNUSUAL, result.c.status.in_(codes(BAD)))
    tests = sorted({row.test for row in connection.execute(bad)})
    for chunk in chunks(tests):
        wanted = rows.where(result.c.test.in_(chunk), result.c.status.in_(codes(BAD | GOOD)))
        found = connection.execute(wanted.order_by(result.c.test, cell.c.seq))
        for _, group in groupby(found, key=lambda row: row.test):
            yield [(row.cell, STATUSES[row.status] in BAD) for row in group]


def forget(connection: Connection, artifacts: Sequence[str]) -> None:
    """Record that these files are not in the store any more."""
    table = schema.cell
    for chunk in chunks(artifacts):
        connection.execute(update(table).where(table.c.artifact.in_(chunk)).values(artifact=""))
