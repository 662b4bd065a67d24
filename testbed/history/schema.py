# SPDX-License-Identifier: GPL-2.0
"""The tables of a history. testbed/history/migrations makes and changes them.

A result has one row with attempt 0, its verdict. A test that was tried more than once has another
row for each try, from attempt 1 on. Large texts are not here: the evidence is in the artifact
store.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)

from testbed.results.model import Status

# Names of constraints, so that a migration can name them on each database.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The numbers of statuses in rows. A number is never given to another status.
STATUS_CODES = {
    Status.FAIL: 1,
    Status.ERROR: 2,
    Status.XFAIL: 3,
    Status.MISS: 4,
    Status.PASS: 5,
    Status.FIXED: 6,
    Status.SKIP: 7,
}
STATUSES = {code: status for status, code in STATUS_CODES.items()}

# The attempt of the row that has the verdict.
VERDICT = 0

lane = Table(
    "lane",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("matrix", String, nullable=False),
    Column("stream", String, nullable=False),
    Column("series", String, nullable=False),
    Column("arch", String, nullable=False),
    Column("flavour", String, nullable=False),
    Column("isolation", String, nullable=False),
    Column("accel", String, nullable=False),
    Column("kind", String, nullable=False),
)

run = Table(
    "run",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("matrix", String, nullable=False),
    Column("command", String, nullable=False),
    Column("started", String, nullable=False),  # ISO 8601, UTC; for people, never for order
    Column("seconds", Float, nullable=False),
    Column("ended", Boolean, nullable=False),
)

cell = Table(
    "cell",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("lane", ForeignKey("lane.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("content", String, nullable=False),
    Column("state", String, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("kernel", String, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("artifact", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("environment", JSON, nullable=False),
    UniqueConstraint("run", "lane", "content"),
    UniqueConstraint("lane", "seq"),
    Index("ix_cell_content", "content"),
)

test = Table(
    "test",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("nodeid", String, nullable=False, unique=True),
)

signature = Table(
    "signature",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("digest", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("title", String, nullable=False),
)

# What a test saw: equal digests are equal facts. Facts of other scripts cannot be compared.
observation = Table(
    "observation",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("digest", String, nullable=False, unique=True),  # of scripts and facts
    Column("scripts", String, nullable=False),  # digest of the scripts
)

# Rows of `test`, `signature` and `observation` are never removed, and PostgreSQL would check
# thousands of references to them for each cell: columns of these names have no constraint.
result = Table(
    "result",
    METADATA,
    Column("cell", ForeignKey("cell.id", ondelete="CASCADE"), primary_key=True),
    Column("test", Integer, primary_key=True),
    Column("attempt", SmallInteger, primary_key=True),
    Column("status", SmallInteger, nullable=False),
    Column("alone", Boolean, nullable=False),  # no other test had used its guest
    Column("signature", Integer),
    Column("observation", Integer),
    Column("seconds", Float, nullable=False),
    sqlite_with_rowid=False,
)

# Whether a result is one of the few that ix_result_unusual finds in many cells. The classes of a
# night begin with it. A literal: SQLite does not use the index for a parameter.
UNUSUAL = result.c.status <= literal_column(str(STATUS_CODES[Status.MISS]))

Index(
    "ix_result_unusual",
    result.c.cell,
    result.c.status,
    result.c.test,
    sqlite_where=UNUSUAL,
    postgresql_where=UNUSUAL,
)

# The later experiments whose tries were added to a cell, by their content.
confirmation = Table(
    "confirmation",
    METADATA,
    Column("cell", ForeignKey("cell.id", ondelete="CASCADE"), primary_key=True),
    Column("content", String, primary_key=True),
    sqlite_with_rowid=False,
)

tally = Table(
    "tally",
    METADATA,
    Column("cell", ForeignKey("cell.id", ondelete="CASCADE"), primary_key=True),
    Column("path", String, primary_key=True),
    Column("status", SmallInteger, primary_key=True),
    Column("n", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# The facts that a test has to see in a lane: the first ones, or those that someone accepted.
baseline = Table(
    "baseline",
    METADATA,
    Column("lane", ForeignKey("lane.id"), primary_key=True),
    Column("test", Integer, primary_key=True),
    Column("observation", Integer, nullable=False),
    Column("cell", ForeignKey("cell.id", ondelete="CASCADE"), nullable=False),
    sqlite_with_rowid=False,
)

# Each change of facts that someone accepted.
accepted = Table(
    "accepted",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("lane", ForeignKey("lane.id"), nullable=False),
    Column("test", ForeignKey("test.id"), nullable=False),
    Column("observation", ForeignKey("observation.id"), nullable=False),
    Column("reason", String, nullable=False),
    Column("who", String, nullable=False),
    Column("at", String, nullable=False),  # ISO 8601, UTC
    Index("ix_accepted_lane_test", "lane", "test"),
)
