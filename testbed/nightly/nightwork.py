# SPDX-License-Identifier: GPL-2.0
"""The work of one night: run the cells, add them to the history, and look into what is new.

Each step can be repeated, so a nightly that is killed and started again goes through all of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.history.records import CellState, Finding
from testbed.nightly.bisect_cell import BAD, GOOD
from testbed.nightly.cell import RUN_FOLDER, Cell, has_result, read_cell_result
from testbed.nightly.coordinator import Coordinator
from testbed.nightly.executor import Executor
from testbed.nightly.followup import bisections, confirmations
from testbed.nightly.kinds import BISECT
from testbed.nightly.memory import Memory, NightRun
from testbed.nightly.night import Bisected, Night, NightCell, Order
from testbed.nightly.observations import observed_changes
from testbed.nightly.priority import by_worth, text_of
from testbed.nightly.summary import counts_text
from testbed.nightly.table import Entry, State, Table
from testbed.progress import Progress
from testbed.results.model import Status


@dataclass(frozen=True)
class Limits:
    """What a night may spend."""

    seconds: float
    confirm: int = 20  # failures of one cell that are tried again
    bisect: bool = True


@dataclass
class Nightwork:
    """One night in its folder."""

    folder: Path
    order: Order
    limits: Limits
    memory: Memory
    executor: Executor
    progress: Progress

    def __post_init__(self) -> None:
        self.table = Table.open(self.folder)
        self.night = NightRun(self.folder.name, self.order.matrix, self.order.started)
        self._seen: set[str] = set()

    def run(self) -> Night:
        """Run the night to its end, or go on with it.

        Raises:
            InfraError: the disk is full, or a host failed in a way that no cell is to blame for.
            SetupError: a file of the night is damaged.
        """
        self._plan()
        self._run_cells("cells")
        if self.limits.confirm:
            self._confirm()
        if self.limits.bisect:
            self._bisect()
        return self._outcome()

    def take_results(self, others: Path) -> None:
        """Take the results of cells that ran elsewhere: folders named by the cells, in `others`."""
        for cell in self.order.cells:
            own, other = self.table.folder_of(cell), others / cell.id
            if has_result(other) and not has_result(own):
                shutil.rmtree(own, ignore_errors=True)
                shutil.copytree(other, own, symlinks=True)
        self.table = Table.open(self.folder)

    def _plan(self) -> None:
        """Put the cells of the order into the table, those whose result is known as such."""
        for cell in self.order.cells:
            known = self.memory.known(cell)
            if known is not None:
                self._seen.add(text_of(cell))
            # What this night has run itself is known too, after it was killed.
            if known is None or self.order.again or known.run_name == self.folder.name:
                self.table.add([cell])
            else:
                self.table.add([cell], state=State.KNOWN, reason=known.run_name)
                self.memory.keep_state(self.night, cell, CellState.KNOWN, known.run_name)
        for entry in self.table.of_state(State.DONE):
            self._ended(entry)

    def _run_cells(self, what: str) -> None:
        with self.progress.step(what, len(self.table.entries)) as step:
            coordinator = Coordinator(
                self.table,
                self.executor,
                seconds=self.memory.seconds,
                budget=self.limits.seconds,
                ended=self._ended,
                step=step,
            )
            try:
                coordinator.run(self._by_worth)
            finally:
                self._elapsed = coordinator.elapsed

    def _by_worth(self, entries: Sequence[Entry]) -> list[Entry]:
        by_id = {entry.cell.id: entry for entry in entries}
        cells = by_worth([entry.cell for entry in entries], self._seen)
        return [by_id[cell.id] for cell in cells]

    def _ended(self, entry: Entry) -> None:
        """Add a cell that has its last state to the history, and show it."""
        cell = entry.cell
        if entry.state is State.DONE:
            self.memory.keep(self.night, self.table.folder_of(cell))
            self.progress.note(f"{cell.title}: {counts_text(self._counts(cell))}")
        elif entry.state is State.FAILED:
            self.memory.keep_state(self.night, cell, CellState.LOST, entry.reason)
            self.progress.note(f"{cell.title}: no result: {entry.reason}")

    def _counts(self, cell: Cell) -> dict[Status, int]:
        result = read_cell_result(self.table.folder_of(cell))
        assert result is not None  # its state says so
        return {status: n for status in Status if (n := result.count(status))}

    def _confirm(self) -> None:
        """Try what is new once more, alone and on a pristine kernel."""
        tried = {entry.cell.confirms for entry in self.table.entries.values()}
        wanted = confirmations(self.memory.findings(self.night), self._cell_of, self.limits.confirm)
        self._run_more("confirmations", (cell for cell in wanted if cell.confirms not in tried))

    def _bisect(self) -> None:
        """Search the commits of what is still new, as far as the time lasts."""
        begun = [entry.cell.params for entry in self._of_kind(BISECT)]
        wanted = bisections(self.memory.findings(self.night), self._cell_of)
        self._run_more("bisections", (cell for cell in wanted if cell.params not in begun))

    def _run_more(self, what: str, cells: Iterable[Cell]) -> None:
        self.table.add(cells)
        if self.table.of_state(State.QUEUED):
            self._run_cells(what)

    def _of_kind(self, kind: str) -> list[Entry]:
        return [entry for entry in self.table.entries.values() if entry.cell.kind == kind]

    def _cell_of(self, finding: Finding) -> Cell | None:
        content = self.memory.stored(finding).content
        cells = [entry.cell for entry in self.table.entries.values()]
        return next((cell for cell in cells if cell.content == content), None)

    def _outcome(self) -> Night:
        self._keep_again()
        findings = self.memory.findings(self.night)
        self.memory.end(self.night, self._elapsed)
        return Night(
            name=self.folder.name,
            folder=self.folder,
            matrix=self.order.matrix,
            started=self.order.started,
            seconds=self._elapsed,
            cells=tuple(map(self._night_cell, self.table.entries.values())),
            findings=findings,
            fact_changes=observed_changes(findings, self.memory),
            bisected=tuple(map(self._bisected, self._of_kind(BISECT))),
            trouble=self.memory.away,
        )

    def _keep_again(self) -> None:
        """Try to add results again: a database that went away may be back."""
        if self.memory.away:
            self.memory.away = ""
            for entry in self.table.of_state(State.DONE):
                self.memory.keep(self.night, self.table.folder_of(entry.cell))

    def _night_cell(self, entry: Entry) -> NightCell:
        cell, folder = entry.cell, self.table.folder_of(entry.cell)
        result = read_cell_result(folder) if entry.state is State.DONE else None
        if result is None:
            known = entry.reason if entry.state is State.KNOWN else ""
            reason = "" if known else entry.reason
            return NightCell(cell=cell, state=entry.state, reason=reason, known=known)
        return NightCell(
            cell=cell,
            state=entry.state,
            folder=folder,
            seconds=result.seconds,
            counts=self._counts(cell),
        )

    def _bisected(self, entry: Entry) -> Bisected:
        cell, folder = entry.cell, self.table.folder_of(entry.cell)
        result = read_cell_result(folder) if entry.state is State.DONE else None
        answer = result.answer if result else {}
        return Bisected(
            stream=cell.stream,
            arch=cell.arch,
            test=cell.only[0],
            good=cell.params[GOOD],
            bad=cell.params[BAD],
            commit=answer.get("commit", ""),
            title=answer.get("title", ""),
            reason=result.run.cases[0].reason if result else entry.reason,
            report=folder / RUN_FOLDER if result else None,
        )
