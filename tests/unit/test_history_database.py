# SPDX-License-Identifier: GPL-2.0
"""Opening a history: its version, its holder, and what cannot be opened."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import postgresql_parts
import pytest
from sqlalchemy import URL, Table, delete, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from waiting import wait_until

from testbed.errors import HistoryError, SetupError
from testbed.history import migrate, schema
from testbed.history.bulk import insert_many
from testbed.history.database import History, opened_history, require_history
from testbed.history.database import history_url as url_of
from testbed.settings import Settings

# Those of a lane that are text.
LANE_COLUMNS = [column.name for column in schema.lane.columns if column.name != "id"]


def test_migrations_make_the_tables_of_the_schema(history_url: URL) -> None:
    with opened_history(history_url) as history:
        with history.write() as db:
            migrate.check(db)
        tables = set(inspect(history.engine).get_table_names())
    assert tables == {*schema.METADATA.tables, "alembic_version"}


def test_a_database_of_another_program_is_refused_and_stays(tmp_path: Path) -> None:
    url = URL.create("sqlite", database=str(tmp_path / "places.sqlite"))
    with closing(sqlite3.connect(url.database or "")) as db:
        db.execute("CREATE TABLE place (name)")
    with pytest.raises(SetupError, match="with tables such as place"), opened_history(url):
        pass
    with closing(sqlite3.connect(url.database or "")) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("place",)]


def test_a_folder_is_not_a_history(tmp_path: Path) -> None:
    url = URL.create("sqlite", database=str(tmp_path))
    with pytest.raises(SetupError, match="is a folder"), opened_history(url):
        pass


def test_an_old_history_is_brought_up_to_date_once(history_url: URL) -> None:
    with opened_history(history_url) as history, history.write() as db:
        schema.METADATA.drop_all(db)
        db.execute(text("DELETE FROM alembic_version"))
    with opened_history(history_url) as history, history.read() as db:
        assert migrate.is_current(db, history.name)
        assert db.scalar(text("SELECT count(*) FROM result")) == 0


def test_an_older_history_keeps_its_results(history_url: URL) -> None:
    rows: dict[Table, dict[str, Any]] = {
        schema.run: {"id": 1, "name": "r", "matrix": "", "command": "", "started": ""},
        schema.lane: {"id": 1, **dict.fromkeys(LANE_COLUMNS, "")},
        schema.cell: {"id": 1, "run": 1, "lane": 1, "seq": 1, "environment": {}},
        schema.test: {"id": 7, "nodeid": "t"},
        schema.result: {"cell": 1, "test": 7, "attempt": 0, "status": 1, "alone": True},
    }
    rows[schema.run] |= {"seconds": 0.0, "ended": True}
    rows[schema.cell] |= dict.fromkeys(("content", "state", "kernel", "artifact", "reason"), "")
    rows[schema.cell] |= {"partial": False, "seconds": 0.0}
    rows[schema.result] |= {"seconds": 0.5}
    with opened_history(history_url) as history, history.write() as db:
        schema.METADATA.drop_all(db)
        db.execute(text("DROP TABLE alembic_version"))
        migrate.upgrade(db, "0001")
        for table, values in rows.items():
            db.execute(insert(table).values(values))
    with opened_history(history_url) as history, history.write() as db:
        assert db.execute(select(schema.result.c.test, schema.result.c.seconds)).all() == [(7, 0.5)]
        migrate.check(db)
        [index] = inspect(db).get_indexes("result")
        assert index["dialect_options"] != {}  # the index has few rows still
        db.execute(delete(schema.run))
        assert db.execute(select(schema.result)).all() == []


def test_a_history_of_a_newer_testbed_is_refused(history_url: URL) -> None:
    with opened_history(history_url) as history, history.write() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with (
        pytest.raises(SetupError, match="version 9999, which a newer testbed made") as caught,
        opened_history(history_url),
    ):
        pass
    assert "use that testbed" in caught.value.hint


def test_a_second_writer_hears_who_holds_the_history(history_url: URL) -> None:
    with opened_history(history_url, write=True):
        with pytest.raises(HistoryError) as caught, opened_history(history_url, write=True):
            pass
        with opened_history(history_url) as reader, reader.read() as db:
            assert db.scalar(text("SELECT count(*) FROM run")) == 0
    holder = f"pid {os.getpid()} on {socket.gethostname()[:24]} since 20"
    assert f"another process writes to the history: {holder}" in caught.value.message
    with opened_history(history_url, write=True):
        pass


_HOLDER = """
import sys, time
from sqlalchemy import make_url
from testbed.history.database import opened_history
with opened_history(make_url(sys.argv[1]), write=True):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_leaves_no_lock(history_url: URL) -> None:
    words = [sys.executable, "-c", _HOLDER, history_url.render_as_string(hide_password=False)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with (
                pytest.raises(HistoryError, match=f"pid {holder.pid} on"),
                opened_history(history_url, write=True),
            ):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    wait_until(lambda: _can_be_held(history_url), "the end of the lock")


def _can_be_held(url: URL) -> bool:
    """A PostgreSQL server notices the end of a client soon, not at once."""
    try:
        with opened_history(url, write=True):
            return True
    except HistoryError:
        return False


def test_many_rows_are_refused_as_one_is(history: History) -> None:
    rows = [{"cell": 99, "content": "x"}, {"cell": 98, "content": "y"}]
    with pytest.raises(IntegrityError), history.write() as db:
        insert_many(db, schema.confirmation, rows)
    with history.read() as db:
        assert db.execute(select(schema.confirmation)).all() == []


def test_sqlite_checks_references_and_lets_readers_in(tmp_path: Path) -> None:
    with opened_history(url_of(Settings(data_dir=tmp_path))) as history, history.read() as db:
        values = {
            name: db.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": 10000,
    }


def test_a_database_that_goes_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    if reason := postgresql_parts.why_not():
        pytest.skip(reason)
    with (
        postgresql_parts.server(tmp_path / "log") as url,
        opened_history(url, write=True) as history,
    ):
        postgresql_parts.end(url)
        with pytest.raises(HistoryError) as caught, history.write() as db:
            db.execute(text("SELECT 1"))
    assert caught.value.message.startswith("the history postgresql+psycopg://postgres:***@")
    assert "check that the database runs" in caught.value.hint


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with socket.socket() as closed:
        closed.bind(("localhost", 0))
        port = closed.getsockname()[1]
        url = url_of(Settings(history=f"postgresql://me:secret@localhost:{port}/nights"))
        with pytest.raises(HistoryError) as caught, opened_history(url):
            pass
    assert f"postgresql+psycopg://me:***@localhost:{port}/nights" in caught.value.message
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_text("This is not a database. " * 100)
    url = url_of(Settings(data_dir=tmp_path))
    with pytest.raises(SetupError, match="is not a history"), opened_history(url):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    url = url_of(Settings(data_dir=tmp_path / "data"))
    with pytest.raises(SetupError, match="cannot write to"), opened_history(url):
        pass


@pytest.mark.parametrize(
    "history", ["nights", "mysql://host/nights", "postgresql://host", "sqlite://"]
)
def test_a_url_that_names_no_history_is_refused(history: str) -> None:
    with pytest.raises(SetupError) as caught:
        url_of(Settings(history=history))
    assert "sqlite:////FOLDER/FILE" in caught.value.hint


def test_the_default_history_is_a_file_in_the_data_directory(tmp_path: Path) -> None:
    url = url_of(Settings(data_dir=tmp_path))
    assert url.database == str(tmp_path / "history.sqlite")
    with pytest.raises(SetupError, match="there is no history in"):
        require_history(url)
    with opened_history(url):
        pass
    require_history(url)
