# SPDX-License-Identifier: GPL-2.0
"""The model, against values derived from the contract by hand."""

from __future__ import annotations

import dataclasses
import re

import pytest

from testbed.mmap.catalogue import SCENARIOS
from testbed.mmap.catalogue.defects import KEPT_CHARGE, REFUSED_SWITCH, with_switch
from testbed.mmap.path import BY_CORE, MMAP_STACKS, PREPARE_STACKS, STACKS, HookPath
from testbed.mmap.plan import NOTHING, VM_DONTCOPY, VM_MAYWRITE, Action, Plan, VmOps
from testbed.mmap.prediction import (
    Extent,
    acting,
    action_extent,
    contents,
    entry_flags,
    fails_late,
    failure,
    final_flags,
    final_pgoff,
    hook_pgoff,
    is_refused,
    left_action,
    number,
    private,
    vm_ops,
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
        (Plan(hook_error="-4095"), Call(), HookPath.DIRECT, "4095"),
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


def test_an_outer_hook_that_fails_before_the_core_acts_is_not_late() -> None:
    refused = scenario(LATE, outer=Plan(outer_error="-EIO"))
    assert not fails_late(refused, HookPath.PREPARE_STACK, PAGE)
    assert fails_late(refused, HookPath.STACK, PAGE)
    assert not fails_late(scenario(LATE, outer=Plan(hook_error="-EIO")), HookPath.STACK, PAGE)


def test_a_stack_has_one_kind_of_outer_hook() -> None:
    assert set(STACKS) == {*MMAP_STACKS, *PREPARE_STACKS}
    assert set(BY_CORE) == {HookPath.DIRECT, *PREPARE_STACKS}
    assert [path.shape.final_vm_file for path in PREPARE_STACKS] == [
        "mmap_prepare_stack",
        "mmap_direct",
    ]


# What the outer hook sets before the hook below, and what it sets after it.
BEFORE = Plan(vm_ops=VmOps.NO_MAPPED, private=0x77, pgoff=9, action=Action.REMAP)
AFTER = Plan(vm_ops=VmOps.NO_MAPPED, private=0x77, pgoff=9, action=Action.REMAP, late=1)
BELOW = Plan(vm_ops=VmOps.FULL, private=0x51, pgoff=5, action=Action.KERNEL_PAGES)


@pytest.mark.parametrize(
    ("plan", "outer", "last"),
    [
        (BELOW, BEFORE, BELOW),
        (BELOW, AFTER, AFTER),
        (Plan(), BEFORE, BEFORE),
        (Plan(), AFTER, AFTER),
    ],
    ids=["below", "outer-late", "only-outer", "only-outer-late"],
)
def test_of_two_hooks_the_last_one_counts(plan: Plan, outer: Plan, last: Plan) -> None:
    both = scenario(plan, outer=outer)
    found = (acting(both).action, vm_ops(both), private(both), hook_pgoff(both))
    assert found == (last.action, last.vm_ops, last.private, last.pgoff)


def test_the_action_that_the_hook_below_leaves() -> None:
    nothing = Plan(action=Action.NONE)
    assert left_action(scenario(nothing, outer=BEFORE)) is Action.REMAP
    assert left_action(scenario(nothing, outer=AFTER)) is Action.NONE
    assert left_action(scenario(BELOW, outer=BEFORE)) is Action.KERNEL_PAGES


def test_a_late_outer_hook_changes_nothing_on_entry() -> None:
    outer = Plan(set_flags=VM_DONTCOPY, late=1)
    assert entry_flags(Call(), outer) == 0xFB
    below = Plan(vm_ops=VmOps.FULL, clear_flags=VM_DONTCOPY)
    assert final_flags(scenario(below, outer=outer)) & VM_DONTCOPY


def test_an_error_of_an_outer_mmap_prepare_comes_before_the_action() -> None:
    wrong = Plan(vm_ops=VmOps.FULL, action=Action.REMAP, action_offset="3p", action_size="2p")
    both = scenario(wrong, outer=Plan(outer_error="-EPERM"))
    assert failure(both, HookPath.STACK, PAGE) == "EFAULT"
    assert [failure(both, path, PAGE) for path in PREPARE_STACKS] == ["EPERM", "EPERM"]


def test_an_override_counts_where_the_core_acts() -> None:
    plan = Plan(vm_ops=VmOps.FULL, mapped_error="-EIO", error_override="-EAGAIN")
    assert {failure(scenario(plan), path, PAGE) for path in BY_CORE} == {"EAGAIN"}
    assert failure(scenario(plan), HookPath.STACK, PAGE) == "EIO"


@pytest.mark.parametrize(
    ("plan", "outer", "refused"),
    [
        (Plan(action=Action.KERNEL_PAGES, action_offset="3p", action_size="2p"), NOTHING, True),
        (Plan(error_override="5"), NOTHING, True),
        (Plan(action=Action.KERNEL_PAGES), NOTHING, False),
        (Plan(error_override="5"), Plan(outer_error="-EPERM"), False),
        (Plan(error_override="5", hook_error="-EIO"), NOTHING, False),
    ],
)
def test_what_the_core_refuses_shows_a_defect_below_a_hook_that_switches(
    plan: Plan, outer: Plan, refused: bool
) -> None:
    found = scenario(plan, outer=outer)
    assert is_refused(found, PAGE) is refused
    known = with_switch(found)
    assert (known.defect(HookPath.PREPARE_FIRST) is REFUSED_SWITCH) is refused
    assert known.defect(HookPath.PREPARE_STACK) is None


def test_a_scenario_may_show_two_defects_below_a_hook_that_switches() -> None:
    found = scenario(Plan(error_override="5"))
    both = with_switch(dataclasses.replace(found, defects=(KEPT_CHARGE,)))
    shown = both.defect(HookPath.PREPARE_FIRST)
    assert shown is not None
    for headline in (
        "lower of top after munmap is 3, not 2",
        "Committed_AS differs from the reference",
    ):
        assert re.search(shown.symptom, headline)
    assert both.defect(HookPath.PREPARE_STACK) is KEPT_CHARGE


def test_scenarios_run_above_mmap_prepare_too() -> None:
    assert all(
        set(PREPARE_STACKS) <= set(each.paths)
        for each in SCENARIOS
        if HookPath.DIRECT in each.paths and HookPath.STACK in each.paths
    )
