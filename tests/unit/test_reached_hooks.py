# SPDX-License-Identifier: GPL-2.0
"""The table of hooks that a run has reached, made from its cases and the hooks of its kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.intree.intreefile import INTREE_FILES
from testbed.intree.stacks import FILE_STACKS
from testbed.intree.unreached import unreached
from testbed.inventory.hook import Hook, Shape
from testbed.report.hooks import (
    HOOKS_FILE,
    REACH_FILE,
    reach_summary,
    reach_table,
    reached,
    read_hooks,
    write_reach,
)
from testbed.results.model import Case, Run, Status

EXT4 = "fs/ext4/file.c:ext4_file_operations"
HPET = "drivers/char/hpet.c:hpet_fops"
AIO = "fs/aio.c:aio_ring_fops"
TTM = "drivers/a.c:old_fops"


def hook(name: str, *, converted: bool = True, struct: str = "file_operations") -> Hook:
    file, _, name = name.partition(":")
    member = "mmap_prepare" if converted else "mmap"
    return Hook(
        struct=struct,
        member=member,
        name=name,
        function=f"{name}_{member}",
        file=file,
        line=1,
        shape=Shape.INITIALISER,
        converted=converted,
    )


HOOKS = (
    hook(EXT4),
    hook(HPET),
    hook(AIO),
    hook(TTM, converted=False),
    hook("drivers/b.c:x", struct="uio_info"),
)


def case(reaches: str, status: Status = Status.PASS, arch: str = "arm64", reason: str = "") -> Case:
    return Case(test="t", arch=arch, reaches=(reaches,), status=status, reason=reason)


def run(*cases: Case) -> Run:
    return Run(name="r", command="c", started="s", cases=cases)


def reach(name: str, *cases: Case) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], str]:
    (found,) = (reach for reach in reached(HOOKS, cases) if reach.hook.tree_name == name)
    return found.direct, found.stacks, found.why_not


def test_every_hook_that_tests_use_is_a_place_of_a_tree_that_is_reached() -> None:
    used = {user.hook for user in INTREE_FILES} | {stack.hook for stack in FILE_STACKS}
    assert all(file.endswith(".c") and name for file, _, name in (u.partition(":") for u in used))
    assert not used & unreached().keys()


def test_a_hook_is_reached_by_cases_that_passed() -> None:
    cases = [
        case(f"{EXT4} by direct"),
        case(f"{EXT4} by direct", arch="x86_64"),
        case(f"{EXT4} by overlayfs"),
        case("fs/9p/vfs_file.c:v9fs_file_operations by stack-first"),
    ]
    assert reach(EXT4, *cases) == (("arm64", "x86_64"), {"overlayfs": ("arm64",)}, "")


def test_a_case_that_did_not_pass_reaches_nothing_and_gives_the_reason() -> None:
    skipped = case(f"{HPET} by direct", Status.SKIP, reason="no HPET_MMAP")
    assert reach(HPET, skipped) == ((), {}, "arm64: SKIP no HPET_MMAP")
    assert reach(HPET) == ((), {}, "by `testbed check --driver hpet`")
    failed = case(f"{HPET} by stack", Status.FAIL, reason="EINVAL")
    assert reach(HPET, failed) == ((), {}, "arm64: FAIL EINVAL")


def test_a_known_reason_stands_beside_the_hook() -> None:
    assert reach(AIO)[2].startswith("not stacked: the kernel maps it itself")


def test_hooks_that_are_not_converted_are_in_the_table_once_a_case_reaches_them() -> None:
    assert [each.hook.tree_name for each in reached(HOOKS, [])] == [EXT4, HPET, AIO]
    cases = [case(f"{TTM} by direct")]
    assert [each.hook.tree_name for each in reached(HOOKS, cases)] == [EXT4, HPET, AIO, TTM]
    assert "0 of 3 reached directly, 0 below a stack; 1 that are not converted" in reach_summary(
        HOOKS, run(*cases)
    )


def test_the_table_and_its_summary(tmp_path: Path) -> None:
    found = run(case(f"{EXT4} by direct"), case(f"{EXT4} by stack-after"), case(f"{AIO} by direct"))
    row = (
        "| ext4_file_operations | `ext4_file_operations_mmap_prepare` | fs/ext4/file.c | arm64 "
        "| stack-after (arm64) |  |"
    )
    assert row in reach_table(HOOKS, found).splitlines()
    assert "2 of 3 reached directly, 1 below a stack" in reach_summary(HOOKS, found)
    write_reach(tmp_path, found, lambda: HOOKS)
    assert (tmp_path / REACH_FILE).read_text() == reach_table(HOOKS, found)
    assert reach_summary(read_hooks(tmp_path), found) == reach_summary(HOOKS, found)


def test_a_run_that_reaches_no_hook_looks_for_none_and_writes_no_table(tmp_path: Path) -> None:
    def find_hooks() -> tuple[Hook, ...]:
        pytest.fail("the kernel was read for nothing")

    other = run(Case(test="t", status=Status.PASS))
    assert reach_summary(HOOKS, other) == ""
    write_reach(tmp_path, other, find_hooks)
    assert list(tmp_path.iterdir()) == []


def test_a_kernel_whose_hooks_are_not_known_has_no_table(tmp_path: Path) -> None:
    found = run(case(f"{EXT4} by direct"))
    write_reach(tmp_path, found, lambda: ())
    assert list(tmp_path.iterdir()) == []
    assert reach_summary(read_hooks(tmp_path), found) == ""
    (tmp_path / HOOKS_FILE).write_text("torn")
    assert read_hooks(tmp_path) == ()
