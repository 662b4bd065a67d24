# SPDX-License-Identifier: GPL-2.0
"""The exit status of a run, its folder and its files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import result_parts

from testbed.results.model import Case, Run, Status, exit_status, worst
from testbed.results.store import environment_from, new_run_dir, read_run, write_run


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([Status.PASS, Status.XFAIL, Status.FIXED, Status.SKIP], 0),
        ([Status.PASS, Status.FAIL, Status.MISS], 1),
        ([Status.PASS, Status.MISS], 3),
        ([Status.PASS, Status.ERROR], 3),
        ([], 3),
        ([Status.SKIP], 3),
    ],
    ids=["as-expected", "kernel-misbehaved", "host-broke", "test-broke", "no-test", "all-skipped"],
)
def test_the_exit_status_says_who_is_to_blame(statuses: list[Status], status: int) -> None:
    cases = [Case(test=f"t{n}", status=one) for n, one in enumerate(statuses)]
    assert exit_status(cases) == status


def test_a_case_without_evidence_does_not_pass() -> None:
    assert not Case(test="t").status.as_expected


def test_the_worst_status_stands_for_several() -> None:
    assert worst([Status.PASS, Status.XFAIL, Status.ERROR]) is Status.ERROR


def test_each_run_gets_its_own_folder_and_latest_is_the_newest(tmp_path: Path) -> None:
    first, second = new_run_dir(tmp_path), new_run_dir(tmp_path)
    assert first != second
    assert (tmp_path / "latest").resolve() == second


def test_a_run_is_written_whole(tmp_path: Path) -> None:
    case = Case(test="tests/vm/test_a.py::test_b[arm64-stack]", status=Status.PASS, arch="arm64")
    write_run(tmp_path, Run(name="r", command="testbed run", started="now", cases=(case,)))
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["cases"][0]["status"] == "PASS"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert case.name == "test_b"


def test_the_users_options_are_part_of_a_result(tmp_path: Path) -> None:
    environment = dataclasses.replace(
        result_parts.environment(),
        config=("/a.config",),
        cmdline="nokaslr",
        qemu_argv=("-device", "edu"),
    )
    write_run(tmp_path, Run(name="r", command="c", started="t", environments=(environment,)))
    assert read_run(tmp_path).environments == (environment,)


def test_an_older_result_has_no_options() -> None:
    values = dataclasses.asdict(result_parts.environment())
    for name in ("config", "cmdline", "qemu_argv"):
        del values[name]
    assert environment_from(values).options == ""
