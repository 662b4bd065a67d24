# SPDX-License-Identifier: GPL-2.0
"""The table of guarantees that a run has shown, made from its cases."""

from __future__ import annotations

from pathlib import Path

from testbed.mmap.guarantees import GUARANTEES
from testbed.mmap.path import HookPath
from testbed.report.guarantees import (
    COVERAGE_FILE,
    NOT_COVERED,
    cell,
    coverage_summary,
    coverage_table,
    write_coverage,
)
from testbed.results.model import Case, Run, Status

BY_NUMBER = {guarantee.number: guarantee for guarantee in GUARANTEES}


def case(*numbers: int, path: str = "stack", status: Status = Status.PASS) -> Case:
    return Case(test="t", arch="arm64", path=path, guarantees=numbers, status=status)


def test_the_guarantees_are_numbered_without_a_gap() -> None:
    assert [guarantee.number for guarantee in GUARANTEES] == list(range(1, 79))


def test_a_cell_shows_the_worst_status_and_the_number_of_cases() -> None:
    cases = [case(18), case(18, 19, status=Status.XFAIL), case(18, path="direct")]
    assert cell(BY_NUMBER[18], HookPath.STACK, cases) == "xfail (2)"
    assert cell(BY_NUMBER[18], HookPath.DIRECT, cases) == "pass (1)"


def test_a_cell_without_a_case_says_why() -> None:
    assert cell(BY_NUMBER[18], HookPath.CUSTOM, [case(18)]) == NOT_COVERED
    assert cell(BY_NUMBER[8], HookPath.LEGACY, []) == "n/a: a .mmap hook has no descriptor"
    assert cell(BY_NUMBER[6], HookPath.STACK, []) == "n/a: both architectures have an MMU"


def test_a_skipped_case_does_not_count() -> None:
    assert cell(BY_NUMBER[18], HookPath.STACK, [case(18, status=Status.SKIP)]) == NOT_COVERED


def test_the_table_is_written_beside_the_result(tmp_path: Path) -> None:
    run = Run(name="r", command="c", started="s", cases=(case(18), case(34, path="")))
    assert coverage_summary(run) == "guarantees: 2 on arm64, of 78 (guarantees.md)"
    write_coverage(tmp_path, run)
    text = (tmp_path / COVERAGE_FILE).read_text()
    assert text == coverage_table(run)
    assert "| 18 | pgoff is applied | not covered | pass (1) |" in text


def test_a_run_that_names_no_guarantee_writes_no_table(tmp_path: Path) -> None:
    write_coverage(tmp_path, Run(name="r", command="c", started="s", cases=(case(),)))
    assert list(tmp_path.iterdir()) == []
