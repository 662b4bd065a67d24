# SPDX-License-Identifier: GPL-2.0
"""Small reads that several queries share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import ARRAY, Column, Connection, any_, literal, select

from testbed.history import schema
from testbed.history.records import Signature
from testbed.history.schema import STATUS_CODES
from testbed.results.model import Status

T = TypeVar("T")

# Values in one IN list. SQLite allows 32,766 parameters, and a shorter list is compiled once.
_CHUNK = 500


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the values in lists that are short enough for IN."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def codes(statuses: Iterable[Status]) -> list[int]:
    """Return statuses as rows have them."""
    return sorted(STATUS_CODES[status] for status in statuses)


def find_ids(connection: Connection, key: Column[str], names: Iterable[str]) -> dict[str, int]:
    """Return the ids of the rows that have these keys."""
    found: dict[str, int] = {}
    columns, wanted = select(key, key.table.c.id), list(names)
    if connection.dialect.name == "postgresql":
        # One array, instead of thousands of parameters that both sides would have to read.
        rows = columns.where(key == any_(literal(wanted, ARRAY(key.type))))
        return {name: row_id for name, row_id in connection.execute(rows)}
    for chunk in chunks(wanted):
        rows = columns.where(key.in_(chunk))
        found.update({name: row_id for name, row_id in connection.execute(rows)})
    return found


def test_names(connection: Connection, tests: Collection[int]) -> dict[int, str]:
    """Return the node ids of tests, by their ids."""
    table, found = schema.test, dict[int, str]()
    for chunk in chunks(sorted(tests)):
        rows = select(table.c.id, table.c.nodeid).where(table.c.id.in_(chunk))
        found.update({row.id: row.nodeid for row in connection.execute(rows)})
    return found


def signatures(connection: Connection, ids: Collection[int | None]) -> dict[int | None, Signature]:
    """Return signatures by their ids; None has none."""
    table, found = schema.signature, dict[int | None, Signature]()
    for chunk in chunks(sorted(each for each in ids if each is not None)):
        rows = select(table.c.id, table.c.kind, table.c.title).where(table.c.id.in_(chunk))
        found.update({row.id: Signature(row.kind, row.title) for row in connection.execute(rows)})
    return found
