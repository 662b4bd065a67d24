# SPDX-License-Identifier: GPL-2.0
"""What a night knows of earlier ones, and adds to them: its use of history and artefacts.

Results stay in files until they are in the history. If the database goes away, the night goes on,
and a later night adds what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testbed.artifacts.depot import Depot
from testbed.claims import is_claimed
from testbed.errors import HistoryError, InfraError
from testbed.history.cells import cell_of, known_cell, newest_cells, run_named
from testbed.history.classify import classify
from testbed.history.database import History
from testbed.history.records import Cell as StoredCell
from testbed.history.records import CellRecord, CellState, Finding, Lane
from testbed.history.store import (
    add_attempts,
    begin_run,
    end_run,
    record_cell,
    record_without_results,
)
from testbed.nightly.cell import (
    CELL_FILE,
    RUN_FOLDER,
    Cell,
    CellResult,
    has_result,
    read_cell,
    read_cell_result,
)
from testbed.nightly.kinds import KINDS
from testbed.nightly.night import all_nights, read_order
from testbed.nightly.table import CELLS_FOLDER
from testbed.results.model import Attempt, Case
from testbed.results.store import read_facts

# Marks a cell whose result is in the history.
KEPT_FILE = "in-history"


@dataclass(frozen=True)
class NightRun:
    """A night as the history knows it."""

    name: str
    matrix: str
    started: str


@dataclass
class Memory:
    """The history of a night; `away` says why it cannot be used any more."""

    history: History
    depot: Depot
    note: Callable[[str], None]
    away: str = ""
    _costs: dict[tuple[Lane, bool], float] | None = None
    _cells: dict[int, StoredCell] = field(default_factory=dict)

    def known(self, cell: Cell) -> StoredCell | None:
        """Return the stored cell of the same experiment, or None."""
        with self.history.read() as db:
            return known_cell(db, cell.content)

    def seconds(self, cell: Cell) -> float:
        """Return the seconds that a cell is expected to take: as last time, or as its kind says."""
        if self._costs is None:
            with self.history.read() as db:
                stored = newest_cells(db, cell.matrix)
            self._costs = {(each.lane, each.partial): each.seconds for each in stored}
        if cell.confirms or not KINDS[cell.kind].in_matrix:
            return KINDS[cell.kind].seconds(cell)
        lanes = (lane_of(cell, accel) for accel in ("kvm", "tcg", cell.accel))
        measured = [self._costs.get((lane, cell.partial)) for lane in lanes]
        return next((each for each in measured if each), KINDS[cell.kind].seconds(cell))

    def keep(self, night: NightRun, folder: Path) -> None:
        """Add the result in a folder to the history, unless it is there. See `away`."""
        if (folder / KEPT_FILE).exists() or self.away:
            return
        result = read_cell_result(folder)
        if result is None:
            return
        with self._guarded():
            if result.cell.confirms:
                self._keep_attempts(night, result)
            elif KINDS[result.cell.kind].in_matrix:
                self._keep_result(night, result, folder)
            (folder / KEPT_FILE).touch()

    def keep_leftovers(self, results: Path) -> None:
        """Add what killed nights, and nights without a database, have left in files.

        A night that still runs in another process has another history.
        """
        for folder in all_nights(results):
            missing = [] if is_claimed(folder) else _not_kept(folder)
            if not missing:
                continue
            order = read_order(folder)
            self.note(f"adding {len(missing)} results of the night {folder.name} to the history")
            for cell in missing:
                self.keep(NightRun(folder.name, order.matrix, order.started), cell)

    def keep_state(self, night: NightRun, cell: Cell, state: CellState, reason: str) -> None:
        """Add a cell that did not run, or has no result."""
        if self.away or cell.confirms or not KINDS[cell.kind].in_matrix:
            return
        with self._guarded(), self.history.write() as db:
            known = known_cell(db, cell.content)
            lane = lane_of(cell, known.lane.accel if known else cell.accel)
            run = begin_run(db, night.name, matrix=night.matrix, started=night.started)
            record_without_results(db, run, lane, content=cell.content, state=state, reason=reason)

    def end(self, night: NightRun, seconds: float) -> None:
        with self._guarded(), self.history.write() as db:
            run = begin_run(db, night.name, matrix=night.matrix, started=night.started)
            end_run(db, run, seconds)

    def findings(self, night: NightRun) -> tuple[Finding, ...]:
        """Return the classes of the night's results, by urgency; nothing without a history."""
        found: list[Finding] = []
        with self._guarded(), self.history.read() as db:
            run = run_named(db, night.name)
            found = classify(db, run) if run is not None else []
        return tuple(found)

    def stored(self, finding: Finding) -> StoredCell:
        """Return the cell that a finding is about."""
        if finding.cell not in self._cells:
            with self.history.read() as db:
                self._cells[finding.cell] = cell_of(db, finding.cell)
        return self._cells[finding.cell]

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Note that the history went away, instead of ending the night."""
        try:
            yield
        except HistoryError as error:
            if not self.away:
                self.note(f"results are kept in files for the next night: {error.message}")
            self.away = error.message

    def _keep_result(self, night: NightRun, result: CellResult, folder: Path) -> None:
        artifact = self._put(folder)
        cell = result.cell
        record = CellRecord(
            content=cell.content,
            run=result.run,
            facts=read_facts(folder / RUN_FOLDER),
            partial=cell.partial,
            seconds=result.seconds,
            artifact=artifact,
        )
        environments = result.run.environments
        lane = lane_of(cell, environments[0].accel if environments else cell.accel)
        with self.history.write() as db:
            run = begin_run(db, night.name, matrix=night.matrix, started=night.started)
            record_cell(db, run, lane, record)

    def _put(self, folder: Path) -> str:
        """Store the files of a cell. Without them, the result is kept all the same."""
        try:
            return self.depot.put(folder)
        except InfraError as error:
            self.note(f"the files of {folder.name} are not in the store: {error.message}")
            return ""

    def _keep_attempts(self, night: NightRun, result: CellResult) -> None:
        with self.history.write() as db:
            stored = known_cell(db, result.cell.confirms)
            if stored is not None:
                tries = {case.test: attempt_of(case) for case in result.run.cases}
                add_attempts(db, stored.id, result.cell.content, tries)


def lane_of(cell: Cell, accel: str) -> Lane:
    """Return the lane of a cell that ran with this accelerator."""
    return Lane(
        matrix=cell.matrix,
        stream=cell.stream,
        arch=cell.arch,
        series=cell.series,
        flavour=cell.flavour,
        isolation=cell.isolation,
        accel=accel,
        kind=cell.kind,
    )


def attempt_of(case: Case) -> Attempt:
    """Return a case of a confirmation as a further try."""
    return Attempt(
        status=case.status,
        alone=True,
        error=case.error,
        reason=case.reason,
        seconds=case.seconds,
    )


def _not_kept(night: Path) -> list[Path]:
    """Return the folders of a night's cells whose results are not in the history yet.

    Confirmations come last: the history must have what they confirm.
    """
    folders = sorted((night / CELLS_FOLDER).glob("*"))
    found = [each for each in folders if has_result(each) and not (each / KEPT_FILE).exists()]
    return sorted(found, key=lambda folder: bool(read_cell(folder / CELL_FILE).confirms))
