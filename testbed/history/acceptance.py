# SPDX-License-Identifier: GPL-2.0
"""Accepts changed facts: from then on a test should see them in its lane."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update

from testbed.history import schema
from testbed.history.cells import lane_cells, lanes
from testbed.history.records import GOOD, Lane
from testbed.history.rows import codes, test_names
from testbed.history.schema import VERDICT


@dataclass(frozen=True)
class Changed:
    """A test that is well, and saw other facts than it should see in its lane."""

    lane: Lane
    lane_id: int
    test: str
    test_id: int
    observation: int
    cell: int  # that saw them last


def pending(connection: Connection) -> list[Changed]:
    """Return all changes of facts that nobody has accepted, by lane and test."""
    found = [
        change
        for lane_id, lane in lanes(connection).items()
        for change in _pending_in(connection, lane_id, lane)
    ]
    return sorted(found, key=lambda each: (each.lane, each.test))


def _pending_in(connection: Connection, lane_id: int, lane: Lane) -> Iterator[Changed]:
    """Yield the changes of a lane, by the last result of each test since its last whole cell."""
    cells = lane_cells(connection, lane_id)
    whole = max((place for place, cell in enumerate(cells) if not cell.partial), default=0)
    seen: dict[int, tuple[int, int]] = {}
    for cell in cells[whole:]:
        seen.update({test: (found, cell.id) for test, found in _seen(connection, cell.id)})
    table = schema.baseline
    query = select(table.c.test, table.c.observation).where(table.c.lane == lane_id)
    expected = {row.test: row.observation for row in connection.execute(query)}
    changed = {test: at for test, at in seen.items() if expected.get(test, at[0]) != at[0]}
    names = test_names(connection, changed)
    for test, (observation, cell_id) in changed.items():
        yield Changed(lane, lane_id, names[test], test, observation, cell_id)


def _seen(connection: Connection, cell: int) -> list[tuple[int, int]]:
    """Return what tests saw in a cell in which they are well: pairs of test and observation."""
    table = schema.result
    where = (
        table.c.cell == cell,
        table.c.attempt == VERDICT,
        table.c.status.in_(codes(GOOD)),
        table.c.observation.is_not(None),
    )
    query = select(table.c.test, table.c.observation).where(*where)
    return [(test, found) for test, found in connection.execute(query)]


def accept(connection: Connection, changes: Iterable[Changed], *, reason: str, who: str) -> None:
    """Let tests see the changed facts from now on, and keep who accepted them, and why."""
    table, now = schema.baseline, datetime.now(UTC).isoformat(timespec="seconds")
    for change in changes:
        place = {"lane": change.lane_id, "test": change.test_id, "observation": change.observation}
        connection.execute(
            update(table)
            .where(table.c.lane == change.lane_id, table.c.test == change.test_id)
            .values(observation=change.observation, cell=change.cell)
        )
        values = {**place, "reason": reason, "who": who, "at": now}
        connection.execute(insert(schema.accepted).values(**values))
