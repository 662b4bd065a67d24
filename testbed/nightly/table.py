# SPDX-License-Identifier: GPL-2.0
"""The table of a night's cells: their states, and who runs them now.

Each change is appended to a file before it counts. A killed nightly that is started again reads the
file, and goes on: what was running then is queued again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from testbed.errors import SetupError
from testbed.files import append_whole
from testbed.nightly.cell import Cell, cell_text, has_result, parse_cell
from testbed.nightly.executor import Job, Resources

# A cell is run alone after so many losses.
_SUSPECT = 2

TABLE_FILE = "table.jsonl"
CELLS_FOLDER = "cells"


class State(StrEnum):
    """The state of a cell in a night."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"  # its folder has its result
    KNOWN = "known"  # an earlier night has its result
    LEFT = "left"  # the time was used up
    FAILED = "failed"  # it has no result, after all attempts


@dataclass(frozen=True)
class Lease:
    """The right of one attempt to run a cell."""

    host: str
    job: Job
    until: float  # on the coordinator's clock
    needs: Resources
    alone: bool  # no other cell runs on the host


@dataclass(eq=False)
class Entry:
    """A cell of the night."""

    cell: Cell
    state: State = State.QUEUED
    reason: str = ""  # one line: why it failed, or was left
    host: str = ""  # that ran it last
    attempts: int = 0
    failures: int = 0  # attempts that were the cell's own fault
    losses: int = 0  # attempts whose host went away
    losses_alone: int = 0  # of these, with no other cell on the host
    lease: Lease | None = None

    @property
    def suspect(self) -> bool:
        """Whether the cell runs alone, so that the next loss of a host is its own."""
        return self.losses >= _SUSPECT


@dataclass
class Table:
    """The cells of one night, in the order in which they were added."""

    folder: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    elapsed: float = 0.0  # seconds of the night that earlier processes have used

    @classmethod
    def open(cls, folder: Path) -> Table:
        """Return the table of a night's folder, as far as it was written."""
        table = cls(folder)
        for event in _events(folder / TABLE_FILE):
            table._apply(event)
        for entry in table.entries.values():
            entry.lease = None
            if has_result(table.folder_of(entry.cell)):
                entry.state = State.DONE
            elif entry.state in (State.RUNNING, State.DONE):
                entry.state = State.QUEUED
        return table

    def folder_of(self, cell: Cell) -> Path:
        return self.folder / CELLS_FOLDER / cell.id

    def of_state(self, *states: State) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state in states]

    def add(self, cells: Iterable[Cell], *, state: State = State.QUEUED, reason: str = "") -> None:
        """Add those cells that the table lacks."""
        for cell in cells:
            if cell.id not in self.entries:
                text = json.loads(cell_text(cell))
                self._write(event="add", cell=text, state=state, reason=reason)

    def begin(self, entry: Entry, lease: Lease, elapsed: float) -> None:
        self._write(event="begin", id=entry.cell.id, host=lease.host, elapsed=elapsed)
        entry.lease = lease

    def end(self, entry: Entry, state: State, elapsed: float, **changes: Any) -> None:
        """Record the end of an attempt: the next state, and changed fields of the entry."""
        self._write(event="end", id=entry.cell.id, state=state, elapsed=elapsed, changes=changes)
        entry.lease = None

    def _write(self, **event: Any) -> None:
        append_whole(self.folder / TABLE_FILE, f"{json.dumps(event)}\n".encode())
        self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        self.elapsed = max(self.elapsed, event.get("elapsed", 0.0))
        if event["event"] == "add":
            cell = parse_cell(json.dumps(event["cell"]), str(self.folder / TABLE_FILE))
            self.entries[cell.id] = Entry(cell, State(event["state"]), event["reason"])
            return
        entry = self.entries[event["id"]]
        if event["event"] == "begin":
            entry.state, entry.host = State.RUNNING, event["host"]
            entry.attempts += 1
        else:
            entry.state = State(event["state"])
            for name, value in event["changes"].items():
                setattr(entry, name, value)


def _events(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the changes in a file. A kill may have left the beginning of one more line."""
    if not file.exists():
        return
    content = file.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(file, end)  # or the next change would be appended to it
    try:
        yield from map(json.loads, content[:end].splitlines())
    except ValueError as exc:
        raise SetupError(f"{file} cannot be read: {exc}", hint="remove the folder") from exc
