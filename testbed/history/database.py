# SPDX-License-Identifier: GPL-2.0
"""Opens the database of a history: SQLite in the data directory, or another one by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import NoSuchModuleError as NoSuchDialect

from testbed.errors import HistoryError, SetupError
from testbed.files import make_folder
from testbed.history.holder import held
from testbed.history.migrate import is_current, upgrade
from testbed.settings import Settings

# The file of the default history, below the setting data_dir.
FILE = "history.sqlite"

_SQLITE, _POSTGRESQL = "sqlite", "postgresql"

# Seconds that SQLite waits for another process's transaction, and PostgreSQL for a connection.
_PATIENCE = 10

_PRAGMAS = (
    "journal_mode = WAL",  # a reader does not wait for the writer
    "synchronous = NORMAL",  # in WAL mode a crash of the host loses the last commits, no more
    f"busy_timeout = {_PATIENCE * 1000}",
    "foreign_keys = ON",
)

_REACH = "check that the database runs, and that --history or the setting history names it"


@dataclass(frozen=True)
class History:
    """An open history. Its blocks are transactions."""

    engine: Engine

    @property
    def name(self) -> str:
        """The URL for people, without a password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the history.

        Raises:
            HistoryError: the database cannot be reached.
        """
        with _blamed(self.name), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection. All that the block writes is kept, or with an error nothing.

        Raises:
            HistoryError: the database cannot be reached or written to.
        """
        with _blamed(self.name), self.engine.begin() as connection:
            yield connection


def history_url(settings: Settings) -> URL:
    """Return the URL of the user's history.

    Raises:
        SetupError: the setting is not a URL, or names another kind of database.
    """
    if not settings.history:
        return URL.create(_SQLITE, database=str(settings.data_dir / FILE))
    try:
        url = make_url(settings.history)
    except ArgumentError as exc:
        raise SetupError(f"history: {settings.history!r} is not a URL", hint=_EXAMPLES) from exc
    if url.get_backend_name() not in (_SQLITE, _POSTGRESQL) or not url.database:
        name = url.render_as_string(hide_password=True)
        raise SetupError(f"history: {name} names no history", hint=_EXAMPLES)
    if url.get_backend_name() == _POSTGRESQL:
        url = url.set(drivername="postgresql+psycopg")
    return url


def require_history(url: URL) -> None:
    """Check that a history is there: SQLite would make an empty one.

    Raises:
        SetupError: there is no such file.
    """
    if url.get_backend_name() == _SQLITE and not Path(url.database or "").exists():
        hint = "`testbed nightly` and `testbed history import` make it"
        raise SetupError(f"there is no history in {url.database}", hint=hint)


_EXAMPLES = "expected sqlite:////FOLDER/FILE or postgresql://USER@HOST/DATABASE"


@contextmanager
def opened_history(url: URL, *, write: bool = False) -> Iterator[History]:
    """Open a history for the block. One of an older testbed is brought up to date.

    With `write` the process holds the history: no other one writes to it meanwhile.

    Raises:
        SetupError: a newer testbed made it, it is no history, or its driver is missing.
        HistoryError: it cannot be reached, or another process holds it.
    """
    history = History(_engine(url))
    try:
        with _held_if(write, history):
            _bring_up_to_date(history, is_held=write)
            yield history
    finally:
        history.engine.dispose()


def _bring_up_to_date(history: History, *, is_held: bool) -> None:
    with history.read() as connection:
        if is_current(connection, history.name):
            return
    with _held_if(not is_held, history), history.write() as connection:
        upgrade(connection)


@contextmanager
def _held_if(wanted: bool, history: History) -> Iterator[None]:
    if not wanted:
        yield
        return
    with _blamed(history.name), held(history.engine):
        yield


def _engine(url: URL) -> Engine:
    is_sqlite = url.get_backend_name() == _SQLITE
    if is_sqlite:
        file = Path(url.database or "").absolute()
        make_folder(file.parent, "data_dir")
        if file.is_dir():
            raise SetupError(f"history: {file} is a folder", hint=_EXAMPLES)
    arguments = {} if is_sqlite else {"connect_timeout": _PATIENCE}
    try:
        # A connection of the pool that broke meanwhile is replaced.
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=not is_sqlite)
    except (ModuleNotFoundError, NoSuchDialect) as exc:
        hint = "install the extra: pip install 'mmap-testbed[postgresql]'"
        raise SetupError(f"no driver for {url.get_backend_name()}: {exc}", hint=hint) from exc
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions late, by itself
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def _blamed(name: str) -> Iterator[None]:
    """Turn an error of the database into one line that names the history."""
    try:
        yield
    except (OperationalError, InterfaceError) as exc:
        raise HistoryError(f"the history {name}: {_cause(exc)}", hint=_REACH) from exc
    except DatabaseError as exc:
        if "not a database" not in str(exc.orig):
            raise
        raise SetupError(f"{name} is not a history: {_cause(exc)}", hint=_EXAMPLES) from exc


def _cause(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
