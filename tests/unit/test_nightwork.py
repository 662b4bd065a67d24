# SPDX-License-Identifier: GPL-2.0
"""The work of a night in this process: with bad disks, a bad store, and clocks that jump."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bisect_parts import Tree
from notes import Notes
from sham_cells import TESTS, register, sham
from test_pages import text_of

from testbed.artifacts.depot import open_depot
from testbed.cache import digest
from testbed.errors import InfraError
from testbed.files import append_whole
from testbed.history.database import History, history_url, opened_history
from testbed.history.records import Class
from testbed.nightly.cell import Cell
from testbed.nightly.executor import BUILD, QEMU, RAM, End, Ended, Host, Job
from testbed.nightly.memory import Memory
from testbed.nightly.night import Night, Order, begin_night, read_order, unfinished, write_outcome
from testbed.nightly.nightwork import Limits, Nightwork
from testbed.nightly.portable import run_cell
from testbed.nightly.summary import summary_lines
from testbed.pages.nightpages import write_night_site
from testbed.pages.nightsite import read_night
from testbed.progress import SilentProgress
from testbed.settings import Settings

register()

NOW = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)


@dataclass
class Here:
    """An executor that runs a cell in this process, at once."""

    settings: Settings
    patience: float = 0.0
    ran: list[str] = field(default_factory=list)
    _ended: list[Ended] = field(default_factory=list)

    def hosts(self) -> Sequence[Host]:
        return [Host("here", {QEMU: 4, BUILD: 1, RAM: 1e12})]

    def start(self, job: Job, host: str) -> None:
        run_cell(job.cell, job.folder, self.settings, SilentProgress())
        self.ran.append(job.cell.params["number"])
        self._ended.append(Ended(job, End.RESULT))

    def wait(self, seconds: float) -> Sequence[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, job: Job) -> None:
        raise AssertionError("no cell takes so long")

    def close(self) -> None:
        return


@dataclass
class Nights:
    """Nights on one history and one artifact store."""

    settings: Settings
    history: History
    notes: Notes
    executor: Here

    @property
    def memory(self) -> Memory:
        return Memory(self.history, open_depot(self.settings), self.notes.note)

    def begin(self, *cells: Cell, started: datetime = NOW) -> Path:
        order = Order(matrix="shams", file="", started=started.isoformat(), cells=cells)
        return begin_night(self.settings.results_dir, order)

    def spend(self, folder: Path) -> Night:
        """Run a night, or go on with it."""
        limits = Limits(seconds=1e9)
        work = Nightwork(folder, read_order(folder), limits, self.memory, self.executor, self.notes)
        night = work.run()
        write_outcome(night)
        return night


@pytest.fixture
def nights(settings: Settings, notes: Notes) -> Iterator[Nights]:
    with opened_history(history_url(settings), write=True) as history:
        yield Nights(settings, history, notes, Here(settings))


def of_commit(tree: Tree, text: str) -> Cell:
    """A cell whose first test sees the text of a new commit."""
    commit = tree.commit(text)
    changes: dict[str, Any] = {"stream": "main", "kernel": f"tree:{tree.path}@{commit}"}
    return dataclasses.replace(
        sham(1, facts="yes"), **changes, commit=commit, content=digest(commit)
    )


def test_changed_facts_are_shown_with_both_observations(
    nights: Nights, tree: Tree, git_alone: None
) -> None:
    nights.spend(nights.begin(of_commit(tree, "before\n")))
    night = nights.spend(nights.begin(of_commit(tree, "after\n")))
    assert [(each.kind, each.test) for each in night.findings] == [(Class.CHANGED, TESTS[0])]
    assert night.exit_status == 0
    [fact] = night.facts_of(night.findings[0])
    assert ("before" in fact.base, "after" in fact.new) == (True, True)
    lines = "\n".join(summary_lines(night))
    assert "1 read.text: // commit 1" in lines
    assert "bad in" not in lines
    write_night_site(read_night(nights.history, night))
    [page] = night.folder.glob("pages/test-*.html")
    assert "// commit 0 before" in text_of(page)
    assert "// commit 1 after" in text_of(page)


def test_changed_facts_whose_files_are_gone_have_a_note(
    nights: Nights, tree: Tree, git_alone: None
) -> None:
    nights.spend(nights.begin(of_commit(tree, "before\n")))
    depot = open_depot(nights.settings)
    for name in depot.sizes():
        depot.remove(name)
    night = nights.spend(nights.begin(of_commit(tree, "after\n")))
    assert night.facts_of(night.findings[0]) == ()
    assert "1 tests saw other facts, which are not known" in nights.notes.texts[-1]


@pytest.mark.parametrize("place", ["/proc/none", "a file"])
def test_results_are_kept_without_a_store_that_can_be_written(nights: Nights, place: str) -> None:
    if place == "a file":
        place = str(nights.settings.state_dir)
        Path(place).write_text("no folder")
    nights.settings = dataclasses.replace(nights.settings, artifacts=f"{place}/store")
    night = nights.spend(nights.begin(sham(1, broken="2")))
    assert [each.test for each in night.of_class(Class.NEW)] == [TESTS[2]]
    assert any("are not in the store: cannot write" in text for text in nights.notes.texts)


def test_a_night_that_met_a_full_disk_goes_on_where_it_was(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = 0

    def full(path: Path, content: bytes) -> None:
        nonlocal lines
        lines += 1
        if lines > 5:  # two cells are added, and the first one has ended
            raise InfraError(f"cannot write {path}: {errno.ENOSPC}")
        append_whole(path, content)

    folder = nights.begin(sham(1), sham(2))
    monkeypatch.setattr("testbed.nightly.table.append_whole", full)
    with pytest.raises(InfraError, match="cannot write"):
        nights.spend(folder)
    monkeypatch.setattr("testbed.nightly.table.append_whole", append_whole)
    before = list(nights.executor.ran)
    assert len(before) in (1, 2)
    night = nights.spend(folder)
    assert sorted(nights.executor.ran) == ["1", "2"]
    assert [each.state for each in night.cells] == ["done", "done"]


def test_a_killed_night_of_the_last_day_goes_on(nights: Nights) -> None:
    results = nights.settings.results_dir
    folder = nights.begin(sham(1))
    assert unfinished(results, "shams", NOW + timedelta(hours=23)) == folder
    assert unfinished(results, "shams", NOW + timedelta(hours=25)) is None
    assert unfinished(results, "others", NOW) is None
    nights.spend(folder)
    assert unfinished(results, "shams", NOW) is None


def test_a_clock_that_was_set_back_hides_no_killed_night(nights: Nights) -> None:
    results = nights.settings.results_dir
    nights.spend(nights.begin(sham(1)))
    (results / "nightly/latest").resolve().rename(results / "nightly/2099-01-01T00-00-00")
    killed = nights.begin(sham(2), started=NOW + timedelta(days=300))
    assert unfinished(results, "shams", NOW) == killed


def test_results_of_a_night_that_is_too_old_are_added_all_the_same(nights: Nights) -> None:
    folder = nights.begin(sham(1), sham(2))
    run_cell(sham(1), folder / "cells" / sham(1).id, nights.settings, SilentProgress())
    nights.memory.keep_leftovers(nights.settings.results_dir)
    assert nights.memory.known(sham(1)) is not None
    assert nights.memory.known(sham(2)) is None
    again = nights.spend(nights.begin(sham(1), sham(2)))
    assert [each.state for each in again.cells] == ["known", "done"]
