# SPDX-License-Identifier: GPL-2.0
"""A PostgreSQL server for tests: pg_virtualenv makes one, and removes it when its program ends."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, NullPool, create_engine, text
from waiting import wait_for_end

from testbed.deadline import Deadline

# The program that runs beside the server. It ends with its input, so with the tests at the latest.
_PROGRAM = 'echo "READY $PGHOST $PGPORT $PGUSER $PGPASSWORD"; cat >/dev/null'

# Seconds in which a server must be ready, and in which it must be gone. It takes 4 on an idle host.
_PATIENCE = 300.0


def why_not() -> str:
    """Why this host cannot run a server; empty if it can."""
    if shutil.which("pg_virtualenv") is None:
        return "pg_virtualenv is not installed: apt install postgresql"
    if not list(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")):
        return "there is no PostgreSQL server: apt install postgresql"
    return ""


@contextmanager
def server(log: Path) -> Iterator[URL]:
    """Start a server, and yield the URL of its empty database. It is gone when the block ends."""
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            ["pg_virtualenv", "-t", "sh", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env=os.environ | {"PGPORT": str(_free_port())},
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _url(process, log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def empty(url: URL) -> None:
    """Remove all tables of a database."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


def _url(process: subprocess.Popen[bytes], log: Path) -> URL:
    """Wait for the line in which the program shows the server's address."""
    assert process.stdout is not None
    seen, deadline = b"", Deadline.after(_PATIENCE)
    while (found := _READY.search(seen)) is None:
        ready, _, _ = select.select([process.stdout], [], [], deadline.remaining)
        more = os.read(process.stdout.fileno(), 4096) if ready else b""
        assert more, f"no server within {_PATIENCE} s: {seen.decode()}{log.read_text()}"
        seen += more
    host, port, user, password = found[1].decode().split()
    return URL.create("postgresql+psycopg", user, password, host, int(port), "postgres")


def _free_port() -> int:
    """Servers that begin at the same time would choose the same port."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
        return port


_READY = re.compile(rb"READY (.*)\n")


def end(url: URL) -> None:
    """Stop the server of a URL at once, as a host does that goes down."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        folder = connection.scalar(text("SHOW data_directory"))
    pid = int((Path(folder) / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    wait_for_end(pid)
