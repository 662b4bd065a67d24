# SPDX-License-Identifier: GPL-2.0
"""Writes runs, cells and results. One process writes at a time (testbed/history/holder.py).

Each function works in the transaction of its connection: see `History.write`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, delete, func, insert, select, update

from testbed.errors import InfraError
from testbed.history import schema
from testbed.history.failure import signature_of
from testbed.history.records import GOOD, CellRecord, CellState, Lane, Observed, Signature
from testbed.history.rows import chunks, find_ids
from testbed.history.schema import STATUS_CODES, VERDICT
from testbed.results.model import Attempt, Case, Facts, TestFacts
from testbed.settings import Isolation

# The isolations whose tests share no guest.
_ALONE = (Isolation.CLONE, Isolation.BOOT)


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
    place = _Place(cell, lane_id, alone=lane.isolation in _ALONE)
    _insert_results(connection, place, cases, record.facts)
    return Recorded(cell, is_new=True)


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


# nightly/memory.py will call add_attempts
def add_attempt(connection: Connection, cell: int, test: str, attempt: Attempt) -> None:
    _add_attempt(connection, cell, test, attempt, _signature_ids(connection, [attempt]))


def _insert_results(
    connection: Connection, place: _Place, cases: Sequence[Case], facts: Facts
) -> None:
    tests = _ids(connection, schema.test.c.nodeid, {case.test: {} for case in cases})
    signatures = _signature_ids(
        connection, [*cases, *(attempt for case in cases for attempt in case.attempts)]
    )
    observations = _observation_ids(connection, {case.test: facts.get(case.test) for case in cases})
    rows = []
    for case in cases:
        test, seen = tests[case.test], {"observation": observations.get(case.test)}
        rows.append(_row(place.cell, test, VERDICT, case, signatures) | seen)
        rows[-1]["alone"] = place.alone
        for number, attempt in enumerate(case.attempts, 1):
            row = _row(place.cell, test, number, attempt, signatures)
            rows.append(row | {"alone": attempt.alone})
    if rows:
        connection.execute(insert(schema.result), rows)
        connection.execute(insert(schema.tally), list(_tallies(place.cell, cases)))
    good = [case.test for case in cases if case.status in GOOD and case.test in observations]
    _set_baselines(connection, place, {tests[test]: observations[test] for test in good})


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


def _set_baselines(connection: Connection, place: _Place, seen: Mapping[int, int]) -> None:
    """Give tests of a lane their first facts. Those of other scripts cannot be compared."""
    table, observation = schema.baseline, schema.observation
    known = select(table.c.test, observation.c.scripts)
    known = known.join(observation, observation.c.id == table.c.observation)
    before = dict(
        (row[0], row[1]) for row in connection.execute(known.where(table.c.lane == place.lane))
    )
    scripts = _scripts_of(connection, set(seen.values()))
    new, others = [], []
    for test, found in seen.items():
        row = {"lane": place.lane, "test": test, "observation": found, "cell": place.cell}
        if test not in before:
            new.append(row)
        elif before[test] != scripts[found]:
            others.append(row)
    if others:
        tests = [row["test"] for row in others]
        for chunk in chunks(tests):
            where = (table.c.lane == place.lane, table.c.test.in_(chunk))
            connection.execute(delete(table).where(*where))
    if new or others:
        connection.execute(insert(table), [*new, *others])


def _scripts_of(connection: Connection, observations: Collection[int]) -> dict[int, str]:
    table = schema.observation
    found: dict[int, str] = {}
    for chunk in chunks(sorted(observations)):
        rows = select(table.c.id, table.c.scripts).where(table.c.id.in_(chunk))
        found.update({row.id: row.scripts for row in connection.execute(rows)})
    return found


def _signature_ids(connection: Connection, tried: Iterable[Case | Attempt]) -> dict[Signature, int]:
    found = {signature_of(each.error, each.reason) for each in tried} - {None}
    signatures = {each.digest: each for each in found if each is not None}
    values = {
        digest: {"kind": each.kind, "title": each.title} for digest, each in signatures.items()
    }
    ids = _ids(connection, schema.signature.c.digest, values)
    return {each: ids[digest] for digest, each in signatures.items()}


def _observation_ids(
    connection: Connection, facts: Mapping[str, TestFacts | None]
) -> dict[str, int]:
    """Return the ids of what tests saw, by test. Tests without facts have none."""
    seen = {test: Observed.of(each) for test, each in facts.items() if each}
    values = {each.digest: {"scripts": each.scripts} for each in seen.values()}
    ids = _ids(connection, schema.observation.c.digest, values)
    return {test: ids[each.digest] for test, each in seen.items()}


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
        connection.execute(insert(key.table), new)
        found |= find_ids(connection, key, missing)
    return found


def _new_id(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    made = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert made is not None  # each table with an id makes one
    return int(made[0])
