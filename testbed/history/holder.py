# SPDX-License-Identifier: GPL-2.0
"""The one process that may write to a history. A second one is refused, and hears who it is.

For SQLite it is a flock(2) on a file beside the history, for PostgreSQL an advisory lock, whose
session carries the name of its holder. Both end with the process that has them.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, text

from testbed.errors import HistoryError

# The key of the advisory lock: "mmap" in ASCII. Other databases of a server have their own locks.
_KEY = 0x6D6D6170

_HINT = "wait until it ends, or use another history"


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """Hold a history for the block.

    Raises:
        HistoryError: another process holds it; the message says which, where, and since when.
    """
    by_database = engine.dialect.name == "postgresql"
    with _held_in_database(engine) if by_database else _held_by_file(_lock_file(engine)):
        yield


@contextmanager
def _held_by_file(path: Path) -> Iterator[None]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _refusal(file.read().strip()) from None
        file.truncate(0)
        file.write(_myself())
        file.flush()
        yield


@contextmanager
def _held_in_database(engine: Engine) -> Iterator[None]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = {"name": _myself()}
        connection.execute(text("SELECT set_config('application_name', :name, false)"), name)
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _KEY}):
            raise _refusal(connection.scalar(_HOLDER, {"key": _KEY}) or "")
        try:
            yield
        finally:
            # The server may be gone; the session, and its lock, then are gone as well.
            connection.invalidate()


_HOLDER = text(
    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
    "WHERE locktype = 'advisory' AND objid = :key AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _lock_file(engine: Engine) -> Path:
    file = Path(engine.url.database or "")
    return file.with_name(f"{file.name}.lock")


def _myself() -> str:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # PostgreSQL cuts the name of a session at 63 characters.
    return f"pid {os.getpid()} on {socket.gethostname()[:24]} since {since}"


def _refusal(holder: str) -> HistoryError:
    return HistoryError(f"another process writes to the history: {holder or 'unknown'}", hint=_HINT)
