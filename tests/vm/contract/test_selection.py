# SPDX-License-Identifier: GPL-2.0
"""Selection of the hook that runs, and refusal of files without one hook."""

from __future__ import annotations

import pytest

from testbed.guest.splat_patterns import SplatKind
from testbed.lab.guest import Guest
from testbed.mmap.observation import names
from testbed.mmap.path import PREPARE_STACKS, PREPARING, HookPath
from testbed.mmap.plan import Plan, VmOps
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script


@pytest.mark.guarantee(1)
def test_both_hooks_are_refused_with_one_warning(guest: Guest, stack: Prober) -> None:
    script = Script()
    script.open("f", "/dev/mmap_both")
    first, second = script.map("m", "f"), script.map("m", "f")
    with guest.expect_splat(SplatKind.WARNING, r"do_mmap|can_mmap_file", once=True):
        seen = stack.run(script)
    assert (seen[first].error, seen[second].error) == ("ENODEV", "ENODEV")


@pytest.mark.guarantee(2)
def test_no_hook_is_refused_without_a_warning(stack: Prober) -> None:
    script = Script()
    script.open("f", "/dev/mmap_none")
    made = script.map("m", "f")
    assert stack.run(script)[made].error == "ENODEV"


@pytest.mark.guarantee(3)
@pytest.mark.parametrize("lower", ["mmap_both", "mmap_none"])
@pytest.mark.parametrize("upper", ["mmap_stack", "mmap_stack_first", "mmap_stack_after"])
def test_a_stack_that_checks_refuses_a_lower_file_without_one_hook(
    guest: Guest, stack: Prober, upper: str, lower: str
) -> None:
    script = Script()
    script.open("low", f"/dev/{lower}")
    script.open("up", f"/dev/{upper}")
    script.step("lower", "up", "low")
    made = script.map("m", "up")
    if lower == "mmap_both":
        with guest.expect_splat(SplatKind.WARNING, "stack_on"):
            seen = stack.run(script)
    else:
        seen = stack.run(script)
    assert seen[made].error == "ENODEV"


@pytest.mark.guarantee(4)
def test_the_direct_path_runs_prepare_and_never_mmap(stack: Prober) -> None:
    mapped = stack.map(HookPath.DIRECT, Plan(vm_ops=VmOps.FULL))
    assert names(mapped.events) == ["prepare", "prepare_done", "mapped"]


@pytest.mark.guarantee(4)
@pytest.mark.paths(*(path for path in PREPARING if path.shape.compat))
def test_a_nested_hook_runs_once_inside_the_outer_mmap(stack: Prober, path: HookPath) -> None:
    order = names(stack.map(path, Plan(vm_ops=VmOps.FULL)).events)
    levels = len(path.shape.nodes) - 1 if path is not HookPath.CUSTOM else 1
    hook = ["prepare", "prepare_done", "mapped"]
    assert order == ["mmap"] * levels + hook + ["mmap_done"] * levels


@pytest.mark.guarantee(4)
@pytest.mark.paths(*PREPARE_STACKS)
def test_a_nested_hook_runs_once_inside_the_outer_mmap_prepare(
    stack: Prober, path: HookPath
) -> None:
    """The core does what they ask for once both have returned."""
    order = names(stack.map(path, Plan(vm_ops=VmOps.FULL)).events)
    assert order == ["outer", "prepare", "prepare_done", "outer_done", "mapped"]


@pytest.mark.guarantee(3)
@pytest.mark.paths(*PREPARE_STACKS)
def test_a_file_with_mmap_cannot_be_below_mmap_prepare(stack: Prober, path: HookPath) -> None:
    """vfs_mmap_prepare() of include/linux/fs.h calls the hook unseen, so the outer hook looks."""
    script = Script()
    script.open("low", "/dev/mmap_legacy")
    script.open("up", f"/dev/{path.shape.nodes[0]}")
    script.step("lower", "up", "low")
    made = script.map("m", "up")
    assert stack.run(script)[made].error == "ENODEV"


@pytest.mark.guarantee(7)
@pytest.mark.parametrize("prot", ["r", "rw"])
def test_an_error_found_before_the_hook_does_not_run_it(stack: Prober, prot: str) -> None:
    script = Script()
    script.step("clearlog")
    script.open("f", "/dev/mmap_direct", "wo")
    made = script.map("m", "f", prot=prot)
    log = script.hooklog()
    seen = stack.run(script)
    assert seen[made].error == "EACCES"
    assert seen[log].events == []


@pytest.mark.guarantee(3)
def test_without_a_check_the_prepare_hook_of_a_lower_file_wins(stack: Prober) -> None:
    script = Script()
    script.step("clearlog")
    script.open("low", "/dev/mmap_both")
    script.plan("low", Plan(vm_ops=VmOps.FULL))
    script.open("up", "/dev/mmap_stack")
    script.step("lower", "up", "low")
    script.plan("up", Plan(unchecked=1))
    made = script.map("m", "up")
    log = script.hooklog()
    script.step("munmap", "m")
    seen = stack.run(script)
    assert seen[made].errno == 0
    assert names(seen[log].events) == ["mmap", "prepare", "prepare_done", "mapped", "mmap_done"]
