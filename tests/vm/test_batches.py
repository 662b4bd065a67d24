# SPDX-License-Identifier: GPL-2.0
"""Tests in batches: what fails there is run again alone, and nothing is lost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.deadline import Deadline
from testbed.process import run
from testbed.results.model import EXIT_FINDINGS, Status
from testbed.results.store import read_run

SAMPLES = Path(__file__).parent / "samples"

Command = Callable[..., list[str]]


def session(command: Command, sample: str, workers: int) -> list[str]:
    """Return the argv of a pytest session with the options of the kernel under test."""
    words = [sys.executable, "-m", "pytest", str(SAMPLES / sample), *command("run")[2:]]
    return [*words, "--isolation", "batch", "-n", str(workers)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_that_only_a_batch_shows_names_the_tests_before_it(
    command: Command, workers: int, tmp_path: Path
) -> None:
    done = run(session(command, "batch.py", workers), ok=range(256))
    assert done.status == EXIT_FINDINGS, done.stdout + done.stderr
    found = read_run(tmp_path / "results" / "latest")
    reasons = {case.name: case.reason for case in found.cases if not case.status.as_expected}
    assert sorted(reasons) == ["test_that_is_wrong_everywhere", "test_that_needs_a_clean_guest"]
    assert not reasons["test_that_is_wrong_everywhere"].startswith("only after")
    behind = reasons["test_that_needs_a_clean_guest"]
    assert behind.startswith("only after 4 tests, at last test_that_leaves_something_behind")
    assert len(found.cases) == 8


def test_a_module_stays_loaded_in_a_batch_and_its_references_are_counted(
    command: Command, tmp_path: Path
) -> None:
    done = run(session(command, "modules.py", 1), ok=range(256))
    assert done.status == EXIT_FINDINGS, done.stdout + done.stderr
    found = read_run(tmp_path / "results" / "latest")
    assert {case.name: case.status for case in found.cases} == {
        "test_that_loads_the_module": Status.PASS,
        "test_that_finds_the_module": Status.PASS,
        "test_that_keeps_the_module_in_use": Status.FAIL,
    }


# Tests that load modules themselves, one of each file that does. In a batch, modules stay loaded.
LOADING = (
    "registers_are_not_cached or open_and_close_are_called or arrive_through_passthrough "
    "or mapping_keeps_the_module"
)


@pytest.mark.parametrize("isolation", ["clone", "shared"])
def test_tests_that_load_modules_pass_in_a_guest_of_their_own_and_in_a_shared_one(
    command: Command, isolation: str, tmp_path: Path
) -> None:
    run(command("run", "--isolation", isolation, "-k", LOADING), deadline=Deadline.after(600))
    cases = read_run(tmp_path / "results" / "latest").cases
    assert len([case for case in cases if case.status is Status.PASS]) >= 5


def test_a_test_whose_worker_dies_runs_once_more(command: Command, tmp_path: Path) -> None:
    done = run(session(command, "dying.py", 2), ok=range(256))
    assert done.status == EXIT_FINDINGS, done.stdout + done.stderr
    found = read_run(tmp_path / "results" / "latest")
    assert {case.name: (case.status, case.error) for case in found.cases} == {
        "test_before": (Status.PASS, ""),
        "test_whose_worker_dies_once": (Status.PASS, ""),
        "test_whose_worker_dies_each_time": (Status.MISS, "WorkerDied"),
        "test_behind": (Status.PASS, ""),
    }
    assert len(found.retried) == 2
