# SPDX-License-Identifier: GPL-2.0
"""Tests in parallel: workers send their cases to the process that writes the results."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import result_parts

from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.series import Series
from testbed.lab.lab import Lab
from testbed.results.model import Case, Status
from testbed.results.store import read_facts, read_run
from testbed.settings import Settings, load_settings
from testbed.suite.recorder import Recorder
from testbed.suite.xdist import Keeper

TEST = "tests/vm/contract/test_a.py::test_a[x86_64]"
ENVIRONMENT = result_parts.environment()


@pytest.fixture
def recorder(ctx: Context) -> Recorder:
    return Recorder(Lab(ctx, Series()), "pytest")


def report(**attributes: Any) -> pytest.TestReport:
    """Return a report as a worker sends it."""
    longrepr = attributes.pop("longrepr", None)
    values = {"nodeid": TEST, "location": ("a", 1, "a"), "keywords": {}, "longrepr": longrepr}
    return pytest.TestReport(**{**values, "when": "teardown", "outcome": "passed", **attributes})


def carried(case: Case) -> str:
    return json.dumps({"case": dataclasses.asdict(case), "facts": {"s": {"m": "1"}}})


def test_the_case_in_a_report_is_recorded_with_its_facts(recorder: Recorder) -> None:
    case = Case(test=TEST, arch="x86_64", guarantees=(3,), status=Status.PASS, seconds=0.5)
    keeper = Keeper(recorder)
    keeper.pytest_runtest_logreport(report(testbed_case=carried(case)))
    keeper.pytest_sessionfinish()
    run_dir = recorder.lab.run_dir
    assert read_run(run_dir).cases == (case,)
    assert read_facts(run_dir) == {TEST: {"s": {"m": "1"}}}
    assert json.loads((run_dir / "cases.jsonl").read_text())["test"] == TEST


def test_a_report_of_another_phase_carries_nothing(recorder: Recorder) -> None:
    for when in ("setup", "call"):
        Keeper(recorder).pytest_runtest_logreport(report(when=when))
    assert recorder.cases == []


def test_a_test_whose_worker_died_is_recorded_as_a_miss(recorder: Recorder) -> None:
    crash = report(when="???", outcome="failed", longrepr="worker 'gw0' crashed while running it")
    Keeper(recorder).pytest_runtest_logreport(crash)
    (case,) = recorder.cases
    assert (case.test, case.status) == (TEST, Status.MISS)
    assert "gw0" in case.reason


def test_a_worker_that_died_in_a_test_is_one_of_its_tries(recorder: Recorder) -> None:
    recorder.note_death(TEST)
    case = Case(test=TEST, arch="x86_64", status=Status.PASS, seconds=0.5)
    keeper = Keeper(recorder)
    keeper.pytest_runtest_logreport(report(testbed_case=carried(case)))
    keeper.pytest_sessionfinish()
    (case,) = read_run(recorder.lab.run_dir).cases
    assert case.status is Status.PASS
    assert [(each.status, each.error) for each in case.attempts] == [
        (Status.MISS, "WorkerDied"),
        (Status.PASS, ""),
    ]
    assert recorder.run().retried == (f"a worker process died in {TEST}; it ran again",)


def test_a_worker_reports_its_environments_when_it_ends(recorder: Recorder) -> None:
    sent = {
        "environments": [dataclasses.asdict(ENVIRONMENT)],
        "retried": ["x86_64: no QEMU"],
        "at fault": True,
    }
    keeper = Keeper(recorder)
    for output in ({"testbed_result": json.dumps(sent)}, {}):
        keeper.pytest_testnodedown(SimpleNamespace(workeroutput=output))
    run = recorder.run()
    assert run.environments == (ENVIRONMENT,)
    assert run.retried == ("x86_64: no QEMU",)
    assert recorder.lab.kernel_at_fault


def test_all_workers_write_their_logs_into_one_folder(recorder: Recorder) -> None:
    nodes = [SimpleNamespace(workerinput=cast(dict[str, str], {})) for _ in range(2)]
    for node in nodes:
        Keeper(recorder).pytest_configure_node(node)
    assert [node.workerinput["testbed_run_dir"] for node in nodes] == [
        str(recorder.lab.run_dir)
    ] * 2


def test_a_session_without_a_case_leaves_no_folder(recorder: Recorder) -> None:
    folder = recorder.lab.run_dir
    Keeper(recorder).pytest_sessionfinish()
    assert not folder.exists()
    assert not (folder.parent / "latest").is_symlink()


def test_vms_of_several_workers_have_separate_folders(recorder: Recorder) -> None:
    other = dataclasses.replace(recorder.lab, _places={})
    other.run_dir = recorder.lab.run_dir
    paths = [lab.log_dir("arm64") for lab in (recorder.lab, other, recorder.lab, other)]
    assert len(set(paths)) == 4


def test_memory_limits_the_number_of_workers() -> None:
    settings = Settings(memory_mib=512)
    assert settings.worker_count(4 * 1024) in range(1, 5)
    assert settings.worker_count(500) == 1
    assert dataclasses.replace(settings, workers=4).worker_count(4 * 1024) == 4


def test_more_workers_than_memory_allows_are_refused() -> None:
    with pytest.raises(SetupError, match="5 workers need more memory than the 4096 MiB") as caught:
        Settings(memory_mib=512, workers=5).worker_count(4 * 1024)
    assert "use at most 4" in caught.value.hint


def test_no_worker_is_refused() -> None:
    with pytest.raises(SetupError, match="workers is 0"):
        load_settings(options={"workers": 0})
