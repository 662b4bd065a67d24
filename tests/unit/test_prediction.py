# SPDX-License-Identifier: GPL-2.0
"""The model, against values derived from the contract by hand."""

from __future__ import annotations

import pytest

from testbed.mmap.path import HookPath
from testbed.mmap.plan import NOTHING, VM_DONTCOPY, VM_MAYWRITE, Action, Plan, VmOps
from testbed.mmap.prediction import (
    Extent,
    action_extent,
    contents,
    entry_flags,
    fails_late,
    failure,
    final_flags,
    final_pgoff,
    number,
)
from testbed.mmap.scenario import Call, Scenario

PAGE = 4096
FULL = Plan(vm_ops=VmOps.FULL)


def scenario(plan: Plan, call: Call | None = None, outer: Plan = NOTHING) -> Scenario:
    return Scenario(name="x", plan=plan, call=call or Call(), outer=outer)


@pytest.mark.parametrize(
    ("text", "value"), [(None, 0), ("17", 17), ("0x10", 16), ("3p", 12288), ("2k", 2048)]
)
def test_numbers_of_the_probes_language(text: str | None, value: int) -> None:
    assert number(text, PAGE) == value


@pytest.mark.parametrize(
    ("prot", "flags", "expected"),
    [
        ("rw", "shared", 0xFB),
        ("r", "shared", 0xF9),
        ("none", "private", 0x70),
        ("rw", "private", 0x100073),
        ("rw", "private,noreserve", 0x200073),
        ("rw", "shared,locked", 0x20FB),
    ],
)
def test_flags_on_entry(prot: str, flags: str, expected: int) -> None:
    assert entry_flags(Call(prot=prot, flags=flags), NOTHING) == expected


def test_the_outer_hook_changes_the_flags_on_entry() -> None:
    outer = Plan(set_flags=VM_DONTCOPY, clear_flags=VM_MAYWRITE)
    assert entry_flags(Call(), outer) == 0xFB & ~0x20 | 0x20000


@pytest.mark.parametrize(
    ("plan", "flags", "expected"),
    [
        (Plan(clear_flags=VM_MAYWRITE), "shared", 0xDB),
        (Plan(action=Action.REMAP), "shared", 0xFB | 0x4000 | 0x400 | 0x40000 | 0x4000000),
        (Plan(action=Action.KERNEL_PAGES), "shared", 0xFB | 0x10000000),
        (Plan(action=Action.KERNEL_PAGES), "shared,locked", 0xFB | 0x10000000),
        (FULL, "shared,locked", 0x20FB),
    ],
    ids=str,
)
def test_final_flags(plan: Plan, flags: str, expected: int) -> None:
    assert final_flags(scenario(plan, Call(flags=flags))) == expected


@pytest.mark.parametrize(
    ("plan", "call", "expected"),
    [
        (FULL, Call(offset=3), 3),
        (Plan(pgoff=9), Call(offset=3), 9),
        (Plan(action=Action.REMAP, pool_page=2), Call(offset=3), 3),
        (Plan(action=Action.REMAP, pool_page=2), Call(offset=3, flags="private"), 0x1002),
    ],
)
def test_the_page_offset(plan: Plan, call: Call, expected: int) -> None:
    assert final_pgoff(scenario(plan, call), PAGE, 0x1000) == expected


def test_an_action_for_a_part() -> None:
    plan = Plan(
        action=Action.REMAP,
        action_offset="1p",
        action_size="2p",
        pool_page=5,
        shrink_start="1p",
    )
    assert action_extent(scenario(plan), PAGE) == Extent(PAGE, 2 * PAGE, 5)


@pytest.mark.parametrize(
    ("plan", "call", "expected"),
    [
        (FULL, Call(pages=2, offset=63), ["pool:63", "SIGBUS"]),
        (FULL, Call(pages=1, prot="none"), ["SIGSEGV"]),
        (NOTHING, Call(pages=2), ["SIGBUS", "SIGBUS"]),
        (Plan(vm_ops=VmOps.NULL), Call(pages=1, flags="private"), ["zero"]),
        (Plan(vm_ops=VmOps.NULL), Call(pages=1), ["SIGBUS"]),
        (
            Plan(action=Action.REMAP, action_offset="1p", action_size="1p", pool_page=7),
            Call(pages=3),
            ["SIGBUS", "pool:7", "SIGBUS"],
        ),
        (
            Plan(
                vm_ops=VmOps.FULL,
                action=Action.KERNEL_PAGES,
                action_offset="1p",
                action_size="1p",
                pool_page=7,
            ),
            Call(pages=3),
            ["pool:0", "pool:7", "pool:2"],
        ),
        (Plan(action=Action.SIMPLE_IOREMAP), Call(pages=2, offset=4), ["pool:4", "pool:5"]),
    ],
)
def test_contents(plan: Plan, call: Call, expected: list[str]) -> None:
    assert contents(scenario(plan, call), PAGE) == expected


LATE = Plan(vm_ops=VmOps.FULL, mapped_error="-EBUSY", error_override="-EAGAIN")


@pytest.mark.parametrize(
    ("plan", "call", "path", "expected"),
    [
        (FULL, Call(), HookPath.STACK, ""),
        (Plan(hook_error="-EIO"), Call(), HookPath.LEGACY, "EIO"),
        (Plan(hook_error="-5"), Call(), HookPath.DIRECT, "EIO"),
        (Plan(hook_error_after="-ENODATA"), Call(), HookPath.CUSTOM, "ENODATA"),
        (LATE, Call(), HookPath.DIRECT, "EAGAIN"),
        (LATE, Call(), HookPath.STACK, "EBUSY"),
        (LATE, Call(), HookPath.LEGACY, ""),
        (Plan(error_override="5"), Call(), HookPath.DIRECT, "EINVAL"),
        (Plan(action=Action.UNKNOWN), Call(), HookPath.DIRECT, "EINVAL"),
        (Plan(action=Action.REMAP, action_size="5p"), Call(), HookPath.STACK, "EFAULT"),
        (Plan(action=Action.REMAP, action_size="2p"), Call(), HookPath.STACK, ""),
        (
            Plan(action=Action.REMAP, action_size="2p"),
            Call(flags="private"),
            HookPath.STACK,
            "EINVAL",
        ),
        (Plan(action=Action.SIMPLE_IOREMAP), Call(offset=61), HookPath.DIRECT, "EINVAL"),
        (Plan(shrink_start="2p", shrink_end="2p"), Call(), HookPath.DIRECT, "ENXIO"),
    ],
)
def test_failure(plan: Plan, call: Call, path: HookPath, expected: str) -> None:
    assert failure(scenario(plan, call), path, PAGE) == expected


def test_failure_of_the_outer_hook() -> None:
    before = scenario(FULL, outer=Plan(hook_error="-EPERM"))
    after = scenario(FULL, outer=Plan(outer_error="-ENOMEM"))
    assert failure(before, HookPath.STACK, PAGE) == "EPERM"
    assert failure(after, HookPath.STACK, PAGE) == "ENOMEM"


def test_late_failures() -> None:
    assert fails_late(scenario(LATE), HookPath.DIRECT, PAGE)
    assert not fails_late(scenario(LATE), HookPath.LEGACY, PAGE)
    assert not fails_late(scenario(Plan(hook_error="-EIO")), HookPath.DIRECT, PAGE)
