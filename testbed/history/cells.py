# SPDX-License-Identifier: GPL-2.0
"""Reads runs, lanes and cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from testbed.errors import SetupError
from testbed.history import schema
from testbed.history.records import Cell, CellState, Lane, Point

_LANE_FIELDS = tuple(each.name for each in dataclasses.fields(Lane))


def run_named(connection: Connection, name: str) -> int | None:
    """Return the id of a run, or None."""
    table = schema.run
    found: int | None = connection.scalar(select(table.c.id).where(table.c.name == name))
    return found


def last_run(connection: Connection, matrix: str | None = None) -> int | None:
    """Return the id of the run that began last, of a matrix or of any; None without one."""
    table = schema.run
    query = select(func.max(table.c.id))
    if matrix is not None:
        query = query.where(table.c.matrix == matrix)
    found: int | None = connection.scalar(query)
    return found


def lanes(connection: Connection) -> dict[int, Lane]:
    """Return all lanes, by their ids."""
    rows = connection.execute(select(schema.lane)).mappings()
    return {row["id"]: Lane(**{name: row[name] for name in _LANE_FIELDS}) for row in rows}


def cells_of(connection: Connection, run: int) -> list[Cell]:
    """Return the cells of a run, in the order in which they were recorded."""
    cell = schema.cell
    return _cells(connection, _all_cells().where(cell.c.run == run).order_by(cell.c.id))


def cell_of(connection: Connection, cell: int) -> Cell:
    """Return a cell by its id.

    Raises:
        SetupError: there is none.
    """
    found = _cells(connection, _all_cells().where(schema.cell.c.id == cell))
    if not found:
        raise SetupError(f"the history has no cell {cell}")
    return found[0]


def known_cell(
    connection: Connection, content: str, *, matrix: str | None = None, stream: str | None = None
) -> Cell | None:
    """Return the newest cell with results of an experiment, or None.

    Args:
        matrix, stream: if given, only a lane of these counts.
    """
    cell, lane = schema.cell, schema.lane
    query = _all_cells().where(cell.c.content == content, cell.c.state == CellState.DONE.value)
    if matrix is not None:
        query = query.where(lane.c.matrix == matrix)
    if stream is not None:
        query = query.where(lane.c.stream == stream)
    return next(iter(_cells(connection, query.order_by(cell.c.id.desc()).limit(1))), None)


def newest_cells(connection: Connection, matrix: str | None = None) -> list[Cell]:
    """Return the newest cell with results of each lane, of a matrix or of all."""
    cell, lane = schema.cell, schema.lane
    newest = select(func.max(cell.c.id)).where(cell.c.state == CellState.DONE.value)
    query = _all_cells().where(cell.c.id.in_(newest.group_by(cell.c.lane)))
    if matrix is not None:
        query = query.where(lane.c.matrix == matrix)
    return _cells(connection, query.order_by(lane.c.key))


def lane_cells(
    connection: Connection,
    lane: int,
    until: int | None = None,
    count: int | None = None,
    state: CellState = CellState.DONE,
) -> list[Cell]:
    """Return the cells of a lane with results, or of another state, oldest first.

    Args:
        until: the number of the last one (`Cell.seq`).
        count: so many at most, the newest.
    """
    cell = schema.cell
    query = _all_cells().where(cell.c.lane == lane, cell.c.state == state.value)
    if until is not None:
        query = query.where(cell.c.seq <= until)
    return _cells(connection, query.order_by(cell.c.seq.desc()).limit(count))[::-1]


def cell_before(connection: Connection, cell: Cell) -> Cell | None:
    """Return the cell before this one in its lane that has results, its own or known ones."""
    states = [CellState.DONE.value, CellState.KNOWN.value]
    table = schema.cell
    where = (table.c.lane == cell.lane_id, table.c.seq < cell.seq, table.c.state.in_(states))
    query = _all_cells().where(*where).order_by(table.c.seq.desc()).limit(1)
    return next(iter(_cells(connection, query)), None)


def stand_in(connection: Connection, known: Cell) -> Cell | None:
    """Return the newest cell whose results stand for one that was not run, or None.

    It is of the same lane, or else of another one that ran the same experiment.
    """
    cell = schema.cell
    query = _all_cells().where(
        cell.c.state == CellState.DONE.value,
        cell.c.content == known.content,
        cell.c.id < known.id,
    )
    own_lane_first = (cell.c.lane == known.lane_id).desc()
    query = query.order_by(own_lane_first, cell.c.id.desc()).limit(1)
    return next(iter(_cells(connection, query)), None)


def points(connection: Connection, lane: int, seqs: Iterable[int]) -> dict[int, Point]:
    """Return cells of a lane, by their numbers."""
    cell = schema.cell
    query = _all_cells().where(cell.c.lane == lane, cell.c.seq.in_(sorted(set(seqs))))
    return {each.seq: point_of(each) for each in _cells(connection, query)}


def point_of(cell: Cell) -> Point:
    """Return what a finding says of a cell."""
    return Point(
        cell=cell.id,
        seq=cell.seq,
        run=cell.run_name,
        kernel=cell.kernel,
        commit=cell.environment.get("commit", ""),
        artifact=cell.artifact,
    )


def _all_cells() -> Select[*tuple[Any, ...]]:
    cell, run, lane = schema.cell, schema.run, schema.lane
    lane_columns = [lane.c[name].label(f"lane_{name}") for name in _LANE_FIELDS]
    columns = [*cell.c, run.c.name.label("run_name"), run.c.started, *lane_columns]
    joined = cell.join(run, run.c.id == cell.c.run).join(lane, lane.c.id == cell.c.lane)
    return select(*columns).select_from(joined)


def _cells(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[Cell]:
    return [_cell(row) for row in connection.execute(query)]


def _cell(row: Row[*tuple[Any, ...]]) -> Cell:
    values = row._mapping
    return Cell(
        id=row.id,
        run=row.run,
        run_name=row.run_name,
        lane=Lane(**{name: values[f"lane_{name}"] for name in _LANE_FIELDS}),
        lane_id=row.lane,
        seq=row.seq,
        content=row.content,
        state=CellState(row.state),
        partial=row.partial,
        kernel=row.kernel,
        started=row.started,
        seconds=row.seconds,
        artifact=row.artifact,
        reason=row.reason,
        environment=row.environment,
    )
