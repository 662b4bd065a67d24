# SPDX-License-Identifier: GPL-2.0
"""Jobs in processes side by side: real processes, and how they end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crew_jobs import Answer, Die, Hang, Meet, Path0, Refuse

from testbed.errors import SetupError
from testbed.mutants.crew import Crew, Died
from testbed.settings import CHECKOUT


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew[Any]]:
    folders = [str(Path(__file__).parent), str(CHECKOUT)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    with Crew[Any](2) as crew:
        yield crew


def test_a_job_runs_in_a_process_of_its_own_and_leaves_no_files(crew: Crew[Any]) -> None:
    job = Answer("here")
    crew.start(job)
    assert crew.jobs == [job]
    [(done, found)] = crew.wait()
    assert not isinstance(found, Died)
    text, pid, scratch = found
    assert (done, text, crew.jobs) == (job, "here", [])
    assert pid != os.getpid()
    assert not Path(scratch).exists()


def test_a_job_does_not_import_from_the_folder_that_it_is_started_in(
    crew: Crew[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    crew.start(Path0())
    assert [place for _, place in crew.wait()] == [str(Path(__file__).parent)]


def test_jobs_run_side_by_side_up_to_the_slots(crew: Crew[Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for writes in (True, False):
        assert not crew.full
        crew.start(Meet(tmp_path / "fifo", writes))
    assert crew.full
    found = []
    while crew.jobs:
        found += crew.wait()
    assert [text for _, text in found] == ["met", "met"]


def test_what_the_host_lacks_is_raised(crew: Crew[Any]) -> None:
    crew.start(Refuse())
    with pytest.raises(SetupError, match="no compiler") as raised:
        crew.wait()
    assert (raised.value.hint, raised.value.evidence) == ("apt install gcc", "exit status 127")


def test_a_job_whose_process_dies_runs_once_more(crew: Crew[Any], tmp_path: Path) -> None:
    crew.start(Die(1, tmp_path / "count"))
    assert [text for _, text in crew.wait()] == ["alive"]


def test_a_job_whose_process_dies_twice_has_died(crew: Crew[Any], tmp_path: Path) -> None:
    crew.start(Die(9, tmp_path / "count"))
    [(_, died)] = crew.wait()
    assert isinstance(died, Died)
    assert died.reason == "the process of the trial ended with status -9: short of memory"
    assert (tmp_path / "count").read_text() == "xx"


def test_the_end_of_the_block_ends_processes_and_what_they_started(
    crew: Crew[Any], tmp_path: Path
) -> None:
    names = ["one", "two"]
    for name in names:
        os.mkfifo(tmp_path / name)
        crew.start(Hang(tmp_path / name, tmp_path / f"{name}.ended"))
    pids = [int((tmp_path / name).read_text()) for name in names]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    crew.__exit__(KeyboardInterrupt, None, None)
    assert [(tmp_path / f"{name}.ended").read_text() for name in names] == ["unwound"] * 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
