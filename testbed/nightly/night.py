# SPDX-License-Identifier: GPL-2.0
"""One night: what ran, what is new, and its files.

results/nightly/NAME/
  night.json        the order: matrix and cells, written before anything runs
  table.jsonl       the states of the cells (table.py)
  cells/ID/         a folder for each cell (cell.py)
  mail.txt          what changed, to be sent by whoever likes
  outcome.json      written last: a night without it was killed, and goes on when it is repeated
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from testbed.errors import SetupError
from testbed.files import DAMAGED, write_whole
from testbed.history.records import Class, Finding
from testbed.nightly.cell import Cell, cell_text, parse_cell
from testbed.nightly.table import State
from testbed.report.diff import FactChange
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS, EXIT_INFRA, Status
from testbed.results.store import new_run_dir

NIGHTS_FOLDER = "nightly"
ORDER_FILE = "night.json"
OUTCOME_FILE = "outcome.json"

_FORMAT = 1

# A night that was killed longer ago than this is not continued: its kernels are old.
_STALE = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a night shall do."""

    matrix: str
    file: str  # that the matrix was read from
    started: str  # ISO 8601, UTC
    again: bool = False  # run cells whose result is known, too
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class NightCell:
    """A cell of the night, and what became of it."""

    cell: Cell
    state: State
    reason: str = ""
    folder: Path | None = None  # with its result, if it ran tonight
    seconds: float = 0.0
    counts: Mapping[Status, int] = dataclasses.field(default_factory=dict)
    known: str = ""  # the night that has its result, if it did not run


# Where both observations of a test differ whose facts changed, by lane and test.
FactChanges = Mapping[tuple[int, str], tuple[FactChange, ...]]


@dataclass(frozen=True, kw_only=True)
class Bisected:
    """The answer of a search for the commit that brought a failure."""

    stream: str
    arch: str
    test: str
    good: str  # commits: those of the finding's last_good and first_bad
    bad: str
    commit: str = ""  # the first bad one, if the search left one
    title: str = ""  # its subject
    reason: str = ""  # why there is no answer
    report: Path | None = None  # the folder of the search


@dataclass(frozen=True, kw_only=True)
class Night:
    """All that is known at the end of a night."""

    name: str
    folder: Path
    matrix: str
    started: str
    seconds: float
    cells: tuple[NightCell, ...] = ()
    findings: tuple[Finding, ...] = ()
    fact_changes: FactChanges = dataclasses.field(default_factory=dict)
    bisected: tuple[Bisected, ...] = ()
    trouble: str = ""  # why findings are missing: the history went away

    def of_class(self, *kinds: Class) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind in kinds]

    def facts_of(self, finding: Finding) -> tuple[FactChange, ...]:
        """Return where the test saw other facts than it should see."""
        return self.fact_changes.get((finding.lane_id, finding.test), ())

    def of_state(self, *states: State) -> list[NightCell]:
        return [each for each in self.cells if each.state in states]

    @property
    def exit_status(self) -> int:
        """0: nothing new. 1: something new or otherwise. 3: cells without result."""
        if any(finding.kind.wants_attention for finding in self.findings):
            return EXIT_FINDINGS
        if self.trouble or self.of_state(State.FAILED):
            return EXIT_INFRA
        return EXIT_EXPECTED


def nights_folder(results: Path) -> Path:
    return results / NIGHTS_FOLDER


def begin_night(results: Path, order: Order) -> Path:
    """Make the folder of a night, and write its order."""
    folder = new_run_dir(nights_folder(results))
    cells = [json.loads(cell_text(cell)) for cell in order.cells]
    values = {each.name: getattr(order, each.name) for each in dataclasses.fields(order)}
    content = {"version": _FORMAT, **values, "cells": cells}
    write_whole(folder / ORDER_FILE, json.dumps(content, indent=1) + "\n")
    return folder


def read_order(folder: Path) -> Order:
    """Return the order of a night.

    Raises:
        SetupError: it cannot be read.
    """
    file = folder / ORDER_FILE
    try:
        values = json.loads(file.read_text())
        version = values.pop("version")
        if version != _FORMAT:
            raise SetupError(f"{file} has format {version}, not {_FORMAT}")
        cells = tuple(parse_cell(json.dumps(each), str(file)) for each in values.pop("cells"))
        return Order(cells=cells, **values)
    except DAMAGED as exc:
        raise SetupError(f"{file} cannot be read: {exc}") from exc


def all_nights(results: Path) -> list[Path]:
    """Return the folders of all nights with an order, oldest first."""
    root = nights_folder(results)
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [each for each in folders if not each.is_symlink() and (each / ORDER_FILE).exists()]


def unfinished(results: Path, matrix: str, now: datetime) -> Path | None:
    """Return the last night of a matrix that was killed, and not too long ago.

    A clock that was set back makes nights of the future: those are continued as well.
    """
    for folder in reversed(all_nights(results)):
        if not (folder / OUTCOME_FILE).exists():
            order = read_order(folder)
            if order.matrix == matrix and now - datetime.fromisoformat(order.started) < _STALE:
                return folder
    return None


def write_outcome(night: Night) -> None:
    """Write what programs read of a night. It marks the end of the night."""
    content = {
        "version": _FORMAT,
        "name": night.name,
        "matrix": night.matrix,
        "started": night.started,
        "seconds": round(night.seconds, 1),
        "exit_status": night.exit_status,
        "trouble": night.trouble,
        "cells": [_cell_values(each) for each in night.cells],
        "findings": [_finding_values(each, night) for each in night.findings],
        "bisected": [dataclasses.asdict(each) for each in night.bisected],
    }
    write_whole(night.folder / OUTCOME_FILE, json.dumps(content, indent=1, default=str) + "\n")


def _finding_values(finding: Finding, night: Night) -> dict[str, Any]:
    facts = [dataclasses.asdict(each) for each in night.facts_of(finding)]
    return {**dataclasses.asdict(finding), "facts": facts}


def _cell_values(each: NightCell) -> dict[str, Any]:
    """Return a cell without what its own file has."""
    named = {"id": each.cell.id, "title": each.cell.title, "content": each.cell.content}
    values = {**dataclasses.asdict(dataclasses.replace(each, cell=each.cell)), "cell": named}
    return {**values, "folder": f"cells/{each.cell.id}" if each.folder else ""}


def timestamp(now: datetime) -> str:
    """Return a moment as files have it."""
    return now.astimezone(UTC).isoformat(timespec="seconds")


def counted(findings: Sequence[Finding]) -> dict[Class, int]:
    """Return the number of findings of each class, those without any too."""
    return {kind: sum(each.kind is kind for each in findings) for kind in Class}
