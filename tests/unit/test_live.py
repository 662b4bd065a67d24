# SPDX-License-Identifier: GPL-2.0
"""The report while a run lasts: failures as they happen, and a table that grows."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from testbed.mmap.path import HookPath
from testbed.report.live import LiveReport
from testbed.results.model import Case, Status
from testbed.terminal import LiveProgress, growing, make_progress


def case(number: int, status: Status, reason: str = "", *, path: str = "stack") -> Case:
    return Case(
        test=f"tests/vm/contract/test_a.py::t{number}[arm64]",
        arch="arm64",
        path=path,
        status=status,
        reason=reason,
        evidence=f"facts of {number};" if reason else "",
    )


def new(*, terminal: bool = False, height: int = 60) -> LiveReport:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, height=height)
    return LiveReport(console)


def text(live: LiveReport) -> str:
    assert isinstance(live.console.file, io.StringIO)
    return live.console.file.getvalue()


def drawn(live: LiveReport) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(live.table())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_failure_is_shown_with_its_evidence_when_it_happens() -> None:
    live = new()
    live.add(case(1, Status.PASS))
    assert text(live) == ""
    live.add(case(2, Status.FAIL, "bad flags"))
    assert "FAIL tests/vm/contract/test_a.py::t2[arm64]\nfacts of 2;" in text(live)
    assert live.seen == {"tests/vm/contract/test_a.py::t2[arm64]"}


def test_a_failure_only_in_its_batch_is_shown_like_any_other() -> None:
    live = new()
    live.add(case(2, Status.FAIL, "only after t1[arm64]: bad flags"))
    assert "facts of 2;" in text(live)


def test_as_expected_is_never_shown() -> None:
    live = new()
    for number, status in enumerate((Status.PASS, Status.SKIP, Status.XFAIL, Status.FIXED)):
        live.add(case(number, status, "some reason"))
    assert text(live) == ""


def test_a_second_failure_with_the_same_reason_gets_one_line() -> None:
    live = new()
    for number in (1, 2):
        live.add(case(number, Status.FAIL, "bad flags"))
    assert "facts of 2;" not in text(live)
    assert text(live).endswith("FAIL tests/vm/contract/test_a.py::t2[arm64]: bad flags\n")


def test_after_the_first_reasons_each_gets_one_line() -> None:
    live = new()
    for number in range(8):
        live.add(case(number, Status.FAIL, f"reason {'x' * number}"))
    assert text(live).count("facts of ") == 5
    assert text(live).count("FAIL ") == 8
    assert len(live.seen) == 5


def test_a_reason_for_which_no_test_can_run_is_shown_once() -> None:
    live = new()
    for number in range(20):
        live.add(case(number, Status.MISS, "no guest comes up"))
    assert text(live).count("MISS ") == 1


def test_a_flood_is_counted() -> None:
    live = new()
    for number in range(1, 401):
        live.add(case(number, Status.FAIL, f"reason {'x' * (number % 7)}"))
    counts = [line for line in text(live).splitlines() if line.startswith("...")]
    assert counts == [f"... {number} unexpected results so far" for number in (50, 100, 200, 400)]
    assert text(live).count("FAIL ") == 25


def test_markup_in_evidence_is_printed_as_it_is() -> None:
    live = new()
    live.add(case(1, Status.FAIL, "[bold]flags[/] of [red]"))
    live.add(case(2, Status.FAIL, "[bold]flags[/] of [red]"))
    assert "[bold]flags[/] of [red]" in text(live)


def test_the_table_grows_with_each_case_and_has_the_earlier_ones() -> None:
    live = new()
    assert live.table() is None
    live.begin_with([case(1, Status.FAIL, "bad flags")])
    assert text(live) == ""
    live.add(case(2, Status.PASS))
    live.add(case(3, Status.PASS))
    assert drawn(live).splitlines()[-1].split() == ["stack", "1", "fail", "2", "pass"]


def test_a_low_terminal_has_one_row_for_tests_without_a_path() -> None:
    live = new(height=18)
    for number, path in enumerate(HookPath):
        live.add(case(number, Status.PASS, path=path))
    for number in range(20):
        live.add(Case(test=f"test_f{number}.py::t", arch="arm64", status=Status.PASS))
    lines = drawn(live).splitlines()
    assert len(lines) == 1 + len(HookPath) + 1
    assert lines[-1].split() == ["other", "tests", "20", "pass"]
    assert len(drawn(new_like(live, 60)).splitlines()) == 1 + len(HookPath) + 20


def new_like(live: LiveReport, height: int) -> LiveReport:
    other = new(height=height)
    other.begin_with(live.cases)
    return other


def test_a_terminal_has_the_table_below_the_bar_and_failures_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal has no bars
    live = new(terminal=True)
    progress = make_progress(live.console)
    assert isinstance(progress, LiveProgress)
    with progress.step("test"), growing(progress, live.table):
        live.add(case(1, Status.PASS))
        progress.bars.refresh()
        live.add(case(2, Status.FAIL, "bad flags"))
        progress.bars.refresh()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text(live))
    assert plain.index("1 pass") < plain.index("facts of 2;") < plain.index("1 fail 1 pass")


def test_a_pipe_has_failures_at_once_and_no_table() -> None:
    live = new()
    progress = make_progress(live.console)
    with progress.step("test"), growing(progress, live.table):
        live.add(case(1, Status.FAIL, "bad flags"))
    assert "facts of 1;" in text(live)
    assert "1 fail" not in text(live)
