# SPDX-License-Identifier: GPL-2.0
"""A cell in a process of its own, as all executors run it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.claims import scratch_folder
from testbed.nightly.cell import Cell, has_result, write_cell
from testbed.nightly.executor import End
from testbed.nightly.kinds import KINDS
from testbed.process import Process, spawn
from testbed.results.model import EXIT_SETUP

LOG_FILE = "log"

# An error of a program of the testbed begins with this (testbed/cli/exit.py).
_ERROR = "testbed: "


@contextmanager
def cell_process(cell: Cell, folder: Path) -> Iterator[Process]:
    """Run a cell in a child, which writes its result to `folder`. It is gone with the block.

    Its temporary files are gone too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = write_cell(folder, cell)
    # -P: nothing is imported from the folder that the nightly is started in.
    argv = [sys.executable, "-P", *KINDS[cell.kind].program, str(file), "--out", str(folder)]
    # The names of sockets must be short (unix(7)), so they cannot be in the cell's folder.
    with (
        scratch_folder("cell") as scratch,
        spawn(argv, log=folder / LOG_FILE, env={"TMPDIR": str(scratch)}) as process,
    ):
        yield process


def end_of(process: Process, folder: Path) -> tuple[End, str]:
    """Return how the child of a cell ended, and the reason in one line."""
    if has_result(folder):
        return End.RESULT, ""
    status = process.returncode
    reason = f"its process ended with status {status}: {_last_error(folder / LOG_FILE)}"
    return (End.REFUSED if status == EXIT_SETUP else End.FAILED), reason


def _last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line for line in lines if line.startswith(_ERROR)]
    return next(reversed(errors or lines), "it printed nothing")
