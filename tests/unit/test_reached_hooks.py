# SPDX-License-Identifier: GPL-2.0
"""The table of hooks that a run has reached, made from its cases."""

from __future__ import annotations

from pathlib import Path

from testbed.intree.hooks import HOOKS
from testbed.intree.intreefile import INTREE_FILES
from testbed.report.hooks import REACH_FILE, reach_summary, reach_table, reached, write_reach
from testbed.results.model import Case, Run, Status


def case(reaches: str, status: Status = Status.PASS, arch: str = "arm64", reason: str = "") -> Case:
    return Case(test="t", arch=arch, reaches=(reaches,), status=status, reason=reason)


def run(*cases: Case) -> Run:
    return Run(name="r", command="c", started="s", cases=cases)


def reach(name: str, *cases: Case) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], str]:
    (found,) = (reach for reach in reached(cases) if reach.hook.name == name)
    return found.direct, found.stacks, found.why_not


def test_the_table_has_60_hooks_with_distinct_names() -> None:
    names = [hook.name for hook in HOOKS]
    assert len(set(names)) == len(names) == 60


def test_every_hook_that_tests_use_is_in_the_table() -> None:
    assert {user.hook for user in INTREE_FILES} <= {hook.name for hook in HOOKS if not hook.why_not}


def test_a_hook_is_reached_by_cases_that_passed() -> None:
    cases = [
        case("ext4 by direct"),
        case("ext4 by direct", arch="x86_64"),
        case("ext4 by overlayfs"),
        case("9p by stack-first"),
    ]
    assert reach("ext4", *cases) == (("arm64", "x86_64"), {"overlayfs": ("arm64",)}, "")


def test_a_case_that_did_not_pass_reaches_nothing_and_gives_the_reason() -> None:
    skipped = case("hpet by direct", Status.SKIP, reason="no HPET_MMAP")
    assert reach("hpet", skipped) == ((), {}, "arm64: SKIP no HPET_MMAP")
    assert reach("hpet") == ((), {}, "no test in this run")
    failed = case("hpet by stack", Status.FAIL, reason="EINVAL")
    assert reach("hpet", failed) == ((), {}, "arm64: FAIL EINVAL")


def test_the_table_and_its_summary(tmp_path: Path) -> None:
    found = run(case("ext4 by direct"), case("ext4 by stack-after"), case("aio by direct"))
    row = "| ext4 | `ext4_file_mmap_prepare` | fs/ext4/file.c | arm64 | stack-after (arm64) |  |"
    assert row in reach_table(found).splitlines()
    assert "2 of 60 reached directly, 1 below a stack" in reach_summary(found)
    write_reach(tmp_path, found)
    assert (tmp_path / REACH_FILE).read_text() == reach_table(found)


def test_a_run_that_reaches_no_hook_writes_no_table(tmp_path: Path) -> None:
    other = run(Case(test="t", status=Status.PASS))
    assert reach_summary(other) == ""
    write_reach(tmp_path, other)
    assert list(tmp_path.iterdir()) == []
