# SPDX-License-Identifier: GPL-2.0
"""Runs one cell on this host, without a database: what executors and CI systems call."""

from __future__ import annotations

import dataclasses
import socket
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from testbed.claims import claimed
from testbed.context import Context
from testbed.errors import SetupError
from testbed.files import make_folder
from testbed.nightly.cell import (
    Cell,
    CellResult,
    read_cell_result,
    write_cell,
    write_cell_result,
)
from testbed.nightly.kinds import KINDS
from testbed.progress import Progress
from testbed.settings import Settings, available_mib
from testbed.suggest import suggest


def run_cell(cell: Cell, out: Path, own: Settings, progress: Progress) -> CellResult:
    """Run a cell, unless its folder has the result. What an earlier attempt left is continued.

    Args:
        out: the folder of the cell, which another process may hold: then this one waits.
        own: the settings of this host. The cell's choices override them.

    Raises:
        SetupError: the host lacks something, or the folder is that of another cell.
        InfraError: the host failed.
    """
    if cell.kind not in KINDS:
        raise SetupError(f"unknown kind of cell {cell.kind!r}", hint=suggest(cell.kind, KINDS))
    make_folder(out, "--out")
    with claimed(out, wait=True):
        known = read_cell_result(out)
        if known is None:
            return _run(cell, out, own, progress)
        if known.cell.content != cell.content:
            raise SetupError(f"{out} has the result of another cell: {known.cell.title}")
        return known


def _run(cell: Cell, out: Path, own: Settings, progress: Progress) -> CellResult:
    write_cell(out, cell)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    ctx = Context.of(_settings(cell, own, out), progress)
    with closing(ctx.cache), progress.step(cell.title):
        found = KINDS[cell.kind].run(cell, ctx, out)
    result = CellResult(
        cell=cell,
        host=socket.gethostname(),
        started=started,
        seconds=round(time.monotonic() - began, 1),
        answer=found.answer,
        run=found.run,
    )
    write_cell_result(out, result)
    return result


def _settings(cell: Cell, own: Settings, out: Path) -> Settings:
    """Return the settings of a cell, with no more workers than fit into memory now."""
    settings = cell.settings(own, out)
    slots = max(1, settings.worker_slots(available_mib()))
    return dataclasses.replace(settings, workers=min(settings.workers, slots))
