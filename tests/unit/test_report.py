# SPDX-License-Identifier: GPL-2.0
"""The report of a run: paths, architectures, and evidence for unexpected results."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Collection
from pathlib import Path

import result_parts
from rich.console import Console

from testbed.report.run import print_report
from testbed.results.model import Case, Environment, Run, Status

ENVIRONMENT = result_parts.environment("arm64", flavour="debug")


def case(
    name: str, arch: str, path: str, status: Status, *, reason: str = "", evidence: str = ""
) -> Case:
    test = f"tests/vm/contract/test_in_tree_stacks.py::{name}[{arch}]"
    return Case(test=test, arch=arch, path=path, status=status, reason=reason, evidence=evidence)


def report(
    *cases: Case, environment: Environment = ENVIRONMENT, shown: Collection[str] = ()
) -> str:
    console = Console(file=io.StringIO(), width=100)
    run = Run(name="r", command="c", started="t", environments=(environment,), cases=cases)
    print_report(console, run, Path("results/r"), shown=shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return line.removeprefix(name).split()


def test_each_path_has_a_row_and_each_architecture_a_column() -> None:
    text = report(
        case("a", "x86_64", "stack", Status.PASS),
        case("a", "arm64", "stack", Status.FAIL, evidence="errno EINVAL"),
        case("b", "arm64", "stack", Status.PASS),
    )
    assert row(text, "path") == ["arm64", "x86_64"]
    assert row(text, "stack") == ["1", "fail", "1", "pass", "1", "pass"]


def test_a_case_without_a_path_is_in_its_files_row() -> None:
    text = report(case("a", "arm64", "", Status.PASS))
    assert row(text, "in tree stacks") == ["1", "pass"]


def test_the_environment_shows_the_users_options_if_there_are_any() -> None:
    assert "--" not in report()
    own = dataclasses.replace(
        ENVIRONMENT, config=("a.config",), cmdline="nokaslr b=1", qemu_argv=("-device", "edu")
    )
    text = report(environment=own)
    assert "--config=a.config '--cmdline=nokaslr b=1' '--qemu=-device edu'" in text


def test_the_environment_names_the_kernel_the_series_and_why_this_accelerator() -> None:
    text = report(case("a", "arm64", "stack", Status.PASS))
    assert "arm64: 7.3.4-testbed-0123456789abcdef (linux-source-7.3 + a.patch)" in text
    assert "flavour debug, isolation clone, QEMU 10.0.2,\n  tcg (the host has no /dev/kvm)" in text


def test_a_failure_is_shown_with_its_evidence_and_a_pass_without() -> None:
    text = report(
        case("a", "arm64", "stack", Status.FAIL, evidence="errno EINVAL\nrerun: testbed run"),
        case("b", "arm64", "stack", Status.PASS, evidence="secret"),
    )
    assert "FAIL tests/vm/contract/test_in_tree_stacks.py::a[arm64]" in text
    assert "errno EINVAL\nrerun: testbed run" in text
    assert "secret" not in text


def test_the_rows_do_not_depend_on_the_order_in_which_tests_end() -> None:
    cases = [
        case("a", "arm64", "custom", Status.PASS),
        case("a", "arm64", "", Status.PASS),
        case("a", "arm64", "direct", Status.PASS),
    ]
    table = [line.split() for line in report(*cases).splitlines() if "1 pass" in line]
    assert [words[0] for words in table] == ["direct", "custom", "in"]
    assert report(*cases[::-1]) == report(*cases)


def test_a_reason_that_kept_many_tests_from_running_is_shown_once() -> None:
    reason = "x.c:1: error: no such thing"
    cases = [case(name, "arm64", "stack", Status.MISS, reason=reason) for name in "abc"]
    text = report(*cases)
    assert text.count(reason) == 1
    assert "a[arm64] and 2 more for the same reason" in text


def failures(*reasons: str) -> list[Case]:
    return [
        case(
            f"t{number}",
            "arm64",
            "stack",
            Status.FAIL,
            reason=reason,
            evidence=f"facts of t{number}\nrepro: results/r/repro/t{number}/run.sh",
        )
        for number, reason in enumerate(reasons)
    ]


def test_failures_with_one_reason_are_shown_with_the_first_of_them() -> None:
    text = report(*failures("bad flags", "bad pages", "bad flags"))
    assert [number for number in "012" if f"facts of t{number}" in text] == ["0", "1"]
    assert "t0[arm64] and 1 more for the same reason" in text


def test_one_reason_with_two_statuses_is_two_kinds() -> None:
    fail, miss = failures("lost", "lost")
    miss = dataclasses.replace(miss, status=Status.MISS)
    text = report(fail, miss)
    assert "  1 FAIL: lost" in text
    assert "  1 MISS: lost" in text


def test_failures_without_a_reason_are_not_alike() -> None:
    text = report(*failures("", ""))
    assert "facts of t0" in text
    assert "facts of t1" in text


def test_the_last_lines_say_how_many_failed_why_and_where_the_evidence_is() -> None:
    text = report(*failures("bad flags", "bad pages", "bad pages"))
    last = text.partition("unexpected results, by reason:\n")[2]
    lines = [line.strip() for line in last.splitlines()]
    assert lines[:2] == [
        "2 FAIL: bad pages",
        "tests/vm/contract/test_in_tree_stacks.py::t1[arm64] and 1 more",
    ]
    assert lines[2] == "repro: results/r/repro/t1/run.sh"
    assert lines[3] == "1 FAIL: bad flags"
    assert lines[-2:] == ["3 FAIL in 0.0 s", "results: results/r"]


def test_evidence_that_was_shown_during_the_run_is_not_repeated() -> None:
    cases = failures("bad flags", "bad pages", "bad flags")
    text = report(*cases, shown={cases[2].test})
    assert [number for number in "012" if f"facts of t{number}" in text] == ["1"]
    assert "2 FAIL: bad flags" in text
    assert "2 FAIL: bad flags" in report(*cases, shown={case.test for case in cases})


def test_hundreds_of_reasons_do_not_flood_the_report() -> None:
    text = report(*failures(*(f"reason {'x' * number}" for number in range(300))))
    assert text.count("facts of ") == 20
    assert "270 more reasons are in the files of the run" in text
    assert len(text.splitlines()) < 200


def test_a_recorded_defect_is_shown_once_with_its_paths() -> None:
    text = report(
        case("a", "arm64", "stack", Status.XFAIL, reason="KD1: Shmem grew"),
        case("a", "x86_64", "stack", Status.XFAIL, reason="KD1: Shmem grew"),
        case("b", "arm64", "custom", Status.FIXED, reason="KD8: fixed in 7.4"),
    )
    assert "xfail KD1: Shmem grew and 1 more (arm64 stack, x86_64 stack)" in text
    assert "fixed KD8: fixed in 7.4 (arm64 custom)" in text


def test_a_run_without_tests_is_reported_as_such() -> None:
    assert "no test ran" in report()
