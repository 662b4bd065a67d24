# SPDX-License-Identifier: GPL-2.0
"""Writes runs, cells and results. One process writes at a time (testbed/history/holder.py).

Each function works in the transaction of its connection: see `History.write`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, delete, func, insert, select, update

from testbed.errors import InfraError
from testbed.history import schema
from testbed.history.bulk import insert_many
from testbed.history.failure import signature_of
from testbed.history.records import GOOD, CellRecord, CellState, Lane, Observed, Signature
from testbed.history.rows import chunks, find_ids
from testbed.history.schema import STATUS_CODES, VERDICT
from testbed.results.model import Attempt, Case, Facts
from testbed.settings import Isolation


@dataclass(frozen=True)
class Recorded:
    """A cell that is in the history now."""

    cell: int
    is_new: bool  # False: it was there before


@dataclass(frozen=True)
class _Place:
    """Where results are inserted."""

    cell: int
    lane: int
    alone: bool  # each of its tests has a guest of its own


def begin_run(
    connection: Connection, name: str, *, matrix: str = "", command: str = "", started: str = ""
) -> int:
    """Return the id of the run of that name, which is made unless it exists.

    Args:
        matrix: the name of its matrix; empty for a run that a person started.
        started: ISO 8601, UTC. It is for people: nights are ordered by `Cell.seq`.
    """
    table = schema.run
    found = connection.scalar(select(table.c.id).where(table.c.name == name))
    if found is not None:
        return int(found)
    values = {"name": name, "matrix": matrix, "command": command, "started": started}
    return _new_id(connection, table, values | {"seconds": 0.0, "ended": False})


def end_run(connection: Connection, run: int, seconds: float) -> None:
    """Record that a run has ended, after so many seconds. A run without it was killed."""
    table = schema.run
    connection.execute(update(table).where(table.c.id == run).values(seconds=seconds, ended=True))


def record_cell(connection: Connection, run: int, lane: Lane, record: CellRecord) -> Recorded:
    """Record the results of a cell. One that is recorded already stays as it is."""
    lane_id = _lane_id(connection, lane)
    known = _find_cell(connection, run, lane_id, record.content)
    if known is not None and known.state == CellState.DONE:
        return Recorded(known.id, is_new=False)
    environment = next((each for each in record.run.environments if each.arch == lane.arch), None)
    values = {
        "state": CellState.DONE.value,
        "partial": record.partial,
        "kernel": environment.kernel if environment else "",
        "seconds": record.seconds or record.run.seconds,
        "artifact": record.artifact,
        "reason": "",
        "environment": dataclasses.asdict(environment) if environment else {},
    }
    cell = _put_cell(connection, run, lane_id, record.content, values)
    cases = [case for case in record.run.cases if case.arch in ("", lane.arch)]
    place = _Place(cell, lane_id, alone=Isolation(lane.isolation).alone)
    _insert_results(connection, place, cases, record.facts)
    return Recorded(cell, is_new=True)


def set_artifact(connection: Connection, cells: Sequence[int], artifact: str) -> None:
    """Record that the files of these cells are in the artifact store, under this name."""
    table = schema.cell
    connection.execute(update(table).where(table.c.id.in_(cells)).values(artifact=artifact))


def record_without_results(
    connection: Connection, run: int, lane: Lane, *, content: str, state: CellState, reason: str
) -> Recorded:
    """Record a cell that was not run, or has no result. One that is recorded stays as it is."""
    lane_id = _lane_id(connection, lane)
    known = _find_cell(connection, run, lane_id, content)
    if known is not None:
        return Recorded(known.id, is_new=False)
    values = _NO_RESULTS | {"state": state.value, "reason": reason}
    return Recorded(_put_cell(connection, run, lane_id, content, values), is_new=True)


_NO_RESULTS: dict[str, Any] = {
    "partial": False,
    "kernel": "",
    "seconds": 0.0,
    "artifact": "",
    "environment": {},
}


def _find_cell(connection: Connection, run: int, lane: int, content: str) -> Row[int, str] | None:
    table = schema.cell
    where = (table.c.run == run, table.c.lane == lane, table.c.content == content)
    return connection.execute(select(table.c.id, table.c.state).where(*where)).one_or_none()


def _put_cell(
    connection: Connection, run: int, lane: int, content: str, values: Mapping[str, Any]
) -> int:
    """Insert a cell as the newest of its lane, or fill the one that had no results."""
    table = schema.cell
    known = _find_cell(connection, run, lane, content)
    if known is not None:
        connection.execute(update(table).where(table.c.id == known.id).values(**values))
        return int(known.id)
    last = connection.scalar(select(func.max(table.c.seq)).where(table.c.lane == lane))
    place = {"run": run, "lane": lane, "seq": (last or 0) + 1, "content": content}
    return _new_id(connection, table, {**place, **values})


def add_attempts(
    connection: Connection, cell: int, content: str, attempts: Mapping[str, Attempt]
) -> bool:
    """Add later tries of tests to a recorded cell. The verdicts stay as they are.

    A test that ran once so far gets its first try as a row of its own.

    Args:
        content: the experiment that tried again. Its tries are added once; then False is returned.

    Raises:
        InfraError: the cell has no result of a test.
    """
    table = schema.confirmation
    known = select(table).where(table.c.cell == cell, table.c.content == content)
    if connection.execute(known).first() is not None:
        return False
    connection.execute(insert(table).values(cell=cell, content=content))
    signatures = _signature_ids(connection, attempts.values())
    for test, attempt in attempts.items():
        _add_attempt(connection, cell, test, attempt, signatures)
    return True


def _add_attempt(
    connection: Connection,
    cell: int,
    test: str,
    attempt: Attempt,
    signatures: Mapping[Signature, int],
) -> None:
    table = schema.result
    test_id = find_ids(connection, schema.test.c.nodeid, [test]).get(test)
    where = (table.c.cell == cell, table.c.test == test_id)
    found = connection.execute(select(table).where(*where).order_by(table.c.attempt)).all()
    if not found or test_id is None:
        raise InfraError(f"cell {cell} has no result of {test}, to which a try could be added")
    first = dict(found[0]._mapping) | {"attempt": 1}
    rows = [] if len(found) > 1 else [first]
    number = found[-1].attempt + 1 + len(rows)
    rows.append(_row(cell, test_id, number, attempt, signatures) | {"alone": attempt.alone})
    connection.execute(insert(table), rows)


def _insert_results(
    connection: Connection, place: _Place, cases: Sequence[Case], facts: Facts
) -> None:
    tests = _ids(connection, schema.test.c.nodeid, {case.test: {} for case in cases})
    signatures = _signature_ids(
        connection, [*cases, *(attempt for case in cases for attempt in case.attempts)]
    )
    seen = {test: Observed.of(facts[test]) for test in tests if facts.get(test)}
    observations = _observation_ids(connection, seen.values())
    rows = []
    for case in cases:
        test = tests[case.test]
        verdict = _row(place.cell, test, VERDICT, case, signatures) | {"alone": place.alone}
        if case.test in seen:
            verdict["observation"] = observations[seen[case.test].digest]
        rows.append(verdict)
        for number, attempt in enumerate(case.attempts, 1):
            row = _row(place.cell, test, number, attempt, signatures)
            rows.append(row | {"alone": attempt.alone})
    insert_many(connection, schema.result, rows)
    insert_many(connection, schema.tally, list(_tallies(place.cell, cases)))
    good = {case.test for case in cases if case.status in GOOD} & seen.keys()
    _set_baselines(connection, place, {tests[test]: seen[test] for test in good}, observations)


def _row(
    cell: int, test: int, number: int, tried: Case | Attempt, signatures: Mapping[Signature, int]
) -> dict[str, Any]:
    found = signature_of(tried.error, tried.reason)
    return {
        "cell": cell,
        "test": test,
        "attempt": number,
        "status": STATUS_CODES[tried.status],
        "signature": signatures[found] if found else None,
        "observation": None,
        "seconds": tried.seconds,
    }


def _tallies(cell: int, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    counts = Counter((case.row, case.status) for case in cases)
    for (path, status), n in counts.items():
        yield {"cell": cell, "path": path, "status": STATUS_CODES[status], "n": n}


def _set_baselines(
    connection: Connection,
    place: _Place,
    seen: Mapping[int, Observed],
    observations: Mapping[str, int],
) -> None:
    """Give tests of a lane their first facts. Those of other scripts cannot be compared."""
    table, observation = schema.baseline, schema.observation
    known = select(table.c.test, observation.c.scripts).where(table.c.lane == place.lane)
    known = known.join(observation, observation.c.id == table.c.observation)
    before = {row.test: row.scripts for row in connection.execute(known)}
    new = {test: found for test, found in seen.items() if before.get(test) != found.scripts}
    for chunk in chunks([test for test in new if test in before]):
        where = (table.c.lane == place.lane, table.c.test.in_(chunk))
        connection.execute(delete(table).where(*where))
    at = {"lane": place.lane, "cell": place.cell}
    rows = [
        {**at, "test": test, "observation": observations[found.digest]}
        for test, found in new.items()
    ]
    insert_many(connection, table, rows)


def _signature_ids(connection: Connection, tried: Iterable[Case | Attempt]) -> dict[Signature, int]:
    found = {signature_of(each.error, each.reason) for each in tried} - {None}
    signatures = {each.digest: each for each in found if each is not None}
    values = {
        digest: {"kind": each.kind, "title": each.title} for digest, each in signatures.items()
    }
    ids = _ids(connection, schema.signature.c.digest, values)
    return {each: ids[digest] for digest, each in signatures.items()}


def _observation_ids(connection: Connection, seen: Iterable[Observed]) -> dict[str, int]:
    values = {each.digest: {"scripts": each.scripts} for each in seen}
    return _ids(connection, schema.observation.c.digest, values)


def _lane_id(connection: Connection, lane: Lane) -> int:
    return _ids(connection, schema.lane.c.key, {lane.key: dataclasses.asdict(lane)})[lane.key]


def _ids(
    connection: Connection, key: Column[str], rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Return the ids of the rows with these keys. Absent ones are inserted, with these values."""
    found = find_ids(connection, key, rows)
    missing = [name for name in rows if name not in found]
    if missing:
        new = [{key.name: name, **rows[name]} for name in missing]
        assert isinstance(key.table, Table)
        insert_many(connection, key.table, new)
        found |= find_ids(connection, key, missing)
    return found


def _new_id(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    made = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert made is not None  # each table with an id makes one
    return int(made[0])
