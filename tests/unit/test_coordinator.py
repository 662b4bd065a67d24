# SPDX-License-Identifier: GPL-2.0
"""The coordinator: which cell runs where, and what follows from the end of an attempt.

The executor is a simulation with a clock of its own; tests/unit/test_local.py has real processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sham_cells import register, sham

from testbed.nightly.cell import CELL_RESULT_FILE, Cell
from testbed.nightly.coordinator import Coordinator
from testbed.nightly.executor import BUILD, QEMU, RAM, End, Ended, Host, Job
from testbed.nightly.table import Entry, State, Table
from testbed.progress import SilentProgress

register()

# What happens to an attempt that runs on a host. None: it goes on.
Fate = Callable[["Simulation", Job, str], End | None]


def succeeds(simulation: Simulation, job: Job, host: str) -> End:
    return End.RESULT


@dataclass
class Simulation:
    """An executor whose attempts end at the next look, as `fate` says."""

    capacity: dict[str, dict[str, float]]
    fate: Fate = succeeds
    patience: float = 0.0
    now: float = 0.0
    running: dict[str, tuple[Job, str]] = field(default_factory=dict)
    started: list[tuple[str, str]] = field(default_factory=list)  # cell and host
    cancelled: list[str] = field(default_factory=list)
    most: int = 0  # cells at a time

    def hosts(self) -> Sequence[Host]:
        return [Host(name, capacity) for name, capacity in self.capacity.items()]

    def start(self, job: Job, host: str) -> None:
        self.running[job.key] = job, host
        self.started.append((job.cell.id, host))
        self.most = max(self.most, len(self.running))

    def wait(self, seconds: float) -> Sequence[Ended]:
        self.now += seconds
        ended: list[Ended] = []
        for key, (job, host) in list(self.running.items()):
            if key in self.running:
                self._end(job, host, self.fate(self, job, host), ended)
        return ended

    def _end(self, job: Job, host: str, end: End | None, ended: list[Ended]) -> None:
        if end is End.LOST:  # with the host go all of its cells
            gone = [key for key, (_, place) in self.running.items() if place == host]
            ended += [Ended(self.running.pop(key)[0], End.LOST, "killed") for key in gone]
        elif end is not None:
            del self.running[job.key]
            if end is End.RESULT:
                job.folder.mkdir(parents=True, exist_ok=True)
                (job.folder / CELL_RESULT_FILE).touch()
            ended.append(Ended(job, end, f"{end} as asked"))

    def cancel(self, job: Job) -> None:
        del self.running[job.key]
        self.cancelled.append(job.cell.id)

    def close(self) -> None:
        self.running.clear()


def host(slots: int = 2, **more: float) -> dict[str, float]:
    return {QEMU: slots, BUILD: slots, RAM: 1e12, **more}


@dataclass
class Night:
    """A table, and a coordinator for it."""

    folder: Path
    simulation: Simulation
    budget: float = 1e9
    ended: list[Entry] = field(default_factory=list)

    def run(self, *cells: Cell) -> dict[str, Entry]:
        table = Table.open(self.folder)
        table.add(cells)
        with SilentProgress().step("cells") as step:
            coordinator = Coordinator(
                table,
                self.simulation,
                seconds=lambda cell: float(cell.params.get("cost", "1")),
                budget=self.budget,
                ended=self.ended.append,
                step=step,
                limit=lambda seconds: seconds + 100,
                clock=lambda: self.simulation.now,
            )
            coordinator.run(list)
        return {entry.cell.params["number"]: entry for entry in table.entries.values()}


def night(folder: Path, fate: Fate = succeeds, **hosts: dict[str, float]) -> Night:
    return Night(folder, Simulation(hosts or {"one": host()}, fate))


def states(entries: dict[str, Entry]) -> list[str]:
    return [entry.state.value for entry in entries.values()]


def test_all_cells_run_once_and_no_more_than_fit(tmp_path: Path) -> None:
    it = night(tmp_path, one=host(2), two=host(1))
    found = it.run(*(sham(number) for number in range(20)))
    assert states(found) == ["done"] * 20
    assert len(it.simulation.started) == len(set(it.simulation.started)) == 20
    assert it.simulation.most == 3
    assert len(it.ended) == 20


def test_a_cell_takes_no_more_workers_than_a_host_has(tmp_path: Path) -> None:
    it = night(tmp_path, one=host(2))
    assert states(it.run(dataclasses.replace(sham(1), workers=64))) == ["done"]


def test_kernels_are_compiled_one_at_a_time_until_they_are_built(tmp_path: Path) -> None:
    it = night(tmp_path, one=host(8) | {BUILD: 1})
    same = [sham(number) for number in range(5)]
    other = dataclasses.replace(sham(6), identity="deb other")
    it.run(*same, other)
    # The first builds alone; then the others of its kernel, and the one of the other kernel.
    assert it.simulation.now == 2


def test_a_failed_cell_runs_twice_and_is_given_up(tmp_path: Path) -> None:
    it = night(tmp_path, lambda *_: End.FAILED)
    found = it.run(sham(1))
    assert (found["1"].state, found["1"].reason) == (State.FAILED, "failed as asked")
    assert len(it.simulation.started) == 2


def test_a_refused_cell_does_not_run_again(tmp_path: Path) -> None:
    it = night(tmp_path, lambda *_: End.REFUSED)
    assert states(it.run(sham(1))) == ["failed"]
    assert len(it.simulation.started) == 1


def test_a_cell_that_kills_its_hosts_is_found_and_no_bystander_is_blamed(tmp_path: Path) -> None:
    def killer(simulation: Simulation, job: Job, place: str) -> End | None:
        if job.cell.params["number"] == "0":
            return End.LOST
        beside = [each.cell.params["number"] for each, at in simulation.running.values()]
        return None if "0" in beside else End.RESULT

    it = night(tmp_path, killer, one=host(4))
    found = it.run(*(sham(number) for number in range(6)))
    assert found["0"].state is State.FAILED
    assert "each of 4 hosts went away" in found["0"].reason
    assert states(found)[1:] == ["done"] * 5
    assert {entry.losses_alone for entry in found.values()} == {0, 2}


def test_a_cell_is_not_blamed_for_the_end_of_the_engine(tmp_path: Path) -> None:
    def cut(simulation: Simulation, job: Job, place: str) -> End:
        return End.CUT if job.number < 6 else End.RESULT

    found = night(tmp_path, cut).run(sham(1), sham(2))
    assert states(found) == ["done"] * 2
    assert {entry.losses + entry.failures for entry in found.values()} == {0}


def test_nothing_is_repeated_for_ever(tmp_path: Path) -> None:
    found = night(tmp_path, lambda *_: End.CUT).run(sham(1))
    assert found["1"].reason == "it was begun 20 times: cut as asked"


def test_a_cell_that_loses_its_host_runs_again_elsewhere(tmp_path: Path) -> None:
    def dies_once(simulation: Simulation, job: Job, place: str) -> End:
        if place == "one":
            del simulation.capacity["one"]
            return End.LOST
        return End.RESULT

    it = night(tmp_path, dies_once, one=host(1), two=host(1))
    assert states(it.run(sham(1))) == ["done"]
    assert [place for _, place in it.simulation.started] == ["one", "two"]


def test_a_cell_goes_back_to_the_host_that_may_have_its_result(tmp_path: Path) -> None:
    def first_fails(simulation: Simulation, job: Job, place: str) -> End:
        return End.FAILED if job.number == 1 else End.RESULT

    it = night(tmp_path, first_fails, one=host(1), two=host(1))
    it.run(sham(1), sham(2))
    by_cell = {cell: place for cell, place in it.simulation.started[:2]}
    assert dict(it.simulation.started[2:]) == by_cell


def test_an_attempt_that_does_not_end_is_ended(tmp_path: Path) -> None:
    it = night(tmp_path, lambda *_: None)
    found = it.run(sham(1))
    assert (found["1"].state, found["1"].reason) == (State.FAILED, "it did not end in time")
    assert it.simulation.cancelled == [sham(1).id] * 2


def test_cells_that_would_end_after_the_night_are_left(tmp_path: Path) -> None:
    it = night(tmp_path, one=host(1))
    it.budget = 4.0
    costs = [sham(1, cost="1"), sham(2, cost="100"), sham(3, cost="2"), sham(4, cost="2")]
    found = it.run(*costs)
    assert states(found) == ["done", "left", "done", "done"]
    assert found["2"].reason == "the time was used up"


def test_a_cell_that_no_host_can_run_is_given_up_after_the_patience(tmp_path: Path) -> None:
    it = night(tmp_path, one=host(1))
    it.simulation.patience = 30.0
    found = it.run(dataclasses.replace(sham(1), accel="kvm"), sham(2))
    assert states(found) == ["failed", "done"]
    assert "KVM_X86_64=1" in found["1"].reason
    assert 30 <= it.simulation.now < 35


def test_a_host_that_joins_late_gets_cells(tmp_path: Path) -> None:
    def join(simulation: Simulation, job: Job, place: str) -> End:
        simulation.capacity["two"] = host(2)
        return End.RESULT

    it = night(tmp_path, join, one=host(1))
    it.run(*(sham(number) for number in range(9)))
    assert {place for _, place in it.simulation.started} == {"one", "two"}


def test_the_time_of_an_earlier_process_counts(tmp_path: Path) -> None:
    it = night(tmp_path, lambda *_: End.FAILED, one=host(1))
    it.run(sham(1))
    used = it.simulation.now
    again = night(tmp_path, one=host(1))
    again.budget = used + 1.5
    found = again.run(sham(2), sham(3), sham(4))
    assert states(found) == ["failed", "done", "left", "left"]


class Killed(BaseException):
    """Stands for the death of the coordinator."""


@pytest.mark.parametrize("steps", range(1, 11))
def test_a_killed_coordinator_goes_on_where_it_was(tmp_path: Path, steps: int) -> None:
    looks = 0

    def dies(simulation: Simulation, job: Job, place: str) -> End:
        nonlocal looks
        looks += 1
        if looks == steps:
            raise Killed
        return End.RESULT

    cells = [sham(number) for number in range(10)]
    first = night(tmp_path, dies, one=host(2))
    with pytest.raises(Killed):
        first.run(*cells)
    done = {cell.id for cell in cells if (tmp_path / "cells" / cell.id / CELL_RESULT_FILE).exists()}
    second = night(tmp_path, one=host(2))
    assert states(second.run(*cells)) == ["done"] * 10
    assert not done & {cell for cell, _ in second.simulation.started}


def test_the_beginning_of_a_torn_line_is_removed(tmp_path: Path) -> None:
    night(tmp_path).run(sham(1))
    file = tmp_path / "table.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"event": "en')
    Table.open(tmp_path)
    assert file.read_bytes() == whole
