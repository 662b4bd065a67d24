# SPDX-License-Identifier: GPL-2.0
"""Hooks that fail: mmap() returns their errno unchanged and leaves nothing behind."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from testbed.guest.splat_patterns import SplatKind
from testbed.lab.guest import Guest
from testbed.mmap.observation import names, only
from testbed.mmap.path import PREPARING, TOP, HookPath, hook_name
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script

FULL = Plan(vm_ops=VmOps.FULL)


@pytest.mark.guarantee(54)
def test_the_errno_of_a_hook_comes_back_verbatim(stack: Prober, path: HookPath) -> None:
    script = path_script(path)
    made = {}
    for error in ("EINVAL", "EPERM", "ENOMEM", "ENXIO", "EAGAIN"):
        script.plan(hook_name(path), Plan(hook_error=f"-{error}"))
        made[error] = script.map("m", TOP)
    seen = stack.run(script)
    assert {error: seen[step].error for error, step in made.items()} == {e: e for e in made}


@pytest.mark.guarantee(54)
def test_a_hook_that_fails_late_leaves_nothing(stack: Prober, path: HookPath) -> None:
    plan = Plan(vm_ops=VmOps.FULL, private=0x9, hook_error_after="-ENODATA")
    mapped = stack.map(path, plan)
    assert mapped.made.error == "ENODATA"
    assert mapped.seen.vmas == []
    assert "close" not in names(mapped.events)


@pytest.mark.guarantee(27, 28)
@pytest.mark.parametrize("plan", [FULL, Plan(hook_error="-EIO")], ids=["success", "failure"])
def test_references_are_back_after_munmap(stack: Prober, path: HookPath, plan: Plan) -> None:
    script = path_script(path, plan)
    before = script.step("counts", TOP), script.step("counts", hook_name(path))
    made = script.map("m", TOP)
    script.step("munmap", "m")
    after = script.step("counts", TOP), script.step("counts", hook_name(path))
    seen = stack.run(script)
    assert seen[made].error == ("EIO" if plan.hook_error else "")
    for first, last in zip(before, after, strict=True):
        assert _references(seen[last].values) == _references(seen[first].values)


@pytest.mark.guarantee(27)
def test_a_mapping_keeps_its_file_after_close(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("m", TOP, pages=1)
    for name in dict.fromkeys([TOP, hook_name(path)]):
        script.step("close", name)
    read = script.read("m")
    assert stack.run(script)[read].contents == ["pool:0"]


@pytest.mark.guarantee(55)
@pytest.mark.parametrize("plan", [FULL, Plan(hook_error="-EIO")], ids=["success", "failure"])
def test_a_fixed_mapping_replaces_the_middle_of_another(
    stack: Prober, path: HookPath, plan: Plan
) -> None:
    script = path_script(path, plan)
    script.map("old", "anon", pages=6, flags="private")
    script.write("old", 0x11)
    script.map("m", TOP, pages=2, flags="shared,fixed", addr="old+2p")
    read = script.read("old")
    seen = stack.run(script)
    kept = ["fill:0x11", "fill:0x11"]
    middle = ["SIGSEGV", "SIGSEGV"] if plan.hook_error else ["pool:0", "pool:1"]
    assert seen[read].contents == [*kept, *middle, *kept]


@pytest.mark.guarantee(48, 49)
@pytest.mark.paths(*PREPARING)
def test_mapped_is_called_once_with_the_final_range(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, FULL, offset=3)
    event = only(mapped.events, "mapped")
    assert (event.number("start"), event.number("end")) == (mapped.vma.start, mapped.vma.end)
    assert event.number("pgoff") == 3


@pytest.mark.guarantee(48)
@pytest.mark.paths(*PREPARING)
def test_mapped_is_not_called_again_by_fork_or_split(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("m", TOP, pages=3)
    with script.fork():
        script.read("m")
    script.step("munmap", "m", "1")
    log = script.hooklog()
    assert names(stack.run(script)[log].events).count("mapped") == 1


@pytest.mark.guarantee(50)
@pytest.mark.paths(*PREPARING)
def test_mapped_sees_the_vma_in_the_tree_only_on_the_direct_path(
    stack: Prober, path: HookPath
) -> None:
    event = only(stack.map(path, FULL).events, "mapped")
    assert event.values["visible"] == ("0" if path.shape.compat else "1")


@pytest.mark.guarantee(51)
@pytest.mark.paths(*PREPARING)
def test_the_errno_of_mapped_comes_back_and_nothing_is_mapped(
    stack: Prober, path: HookPath
) -> None:
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL, mapped_error="-EBUSY"))
    assert mapped.made.error == "EBUSY"
    assert mapped.seen.vmas == []


@pytest.mark.guarantee(24, 49)
@pytest.mark.paths(*PREPARING)
def test_private_data_that_mapped_stores_is_the_vmas(stack: Prober, path: HookPath) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.FULL, private=0x1, mapped_private=0x2))
    script.map("m", TOP, pages=1)
    script.step("munmap", "m")
    log = script.hooklog()
    close = only(stack.run(script)[log].events, "close")
    assert close.values["private"] == "0x2"


@pytest.mark.guarantee(28, 54)
@pytest.mark.paths(*PREPARING)
@pytest.mark.parametrize("action", [Action.REMAP, Action.KERNEL_PAGES])
def test_an_action_is_undone_when_mapped_fails(
    stack: Prober, path: HookPath, action: Action
) -> None:
    plan = Plan(action=action, vm_ops=VmOps.FULL, mapped_error="-ENOSPC")
    script = path_script(path, plan)
    before = script.step("counts", TOP)
    made = script.map("m", TOP)
    after = script.step("counts", TOP)
    seen = stack.run(script)
    assert seen[made].error == "ENOSPC"
    for key in ("page_count", "page_mapcount"):
        assert seen[after].values[key] == seen[before].values[key]


@dataclass(frozen=True)
class _Nonsense:
    """An invalid request of a driver, its errno, and the functions that may warn about it."""

    plan: Plan
    error: str
    warns: str = ""


_NONSENSE = {
    "override-above-0": _Nonsense(Plan(error_override="5"), "EINVAL", "check_mmap_action|prepare"),
    "override-below-all": _Nonsense(
        Plan(error_override="-4096"), "EINVAL", "check_mmap_action|prepare"
    ),
    "no-such-action": _Nonsense(Plan(action=Action.UNKNOWN), "EINVAL", "mmap_action_prepare"),
    "part-begins-before": _Nonsense(
        Plan(action=Action.REMAP, shrink_start="1p", action_offset="0", action_size="1p"), "EFAULT"
    ),
    "part-ends-behind": _Nonsense(
        Plan(action=Action.REMAP, action_offset="3p", action_size="2p"), "EFAULT"
    ),
}


# Not PREPARE_FIRST: of what the core refuses, the file leaks to which the outer hook has switched
# (KD12, which scenarios show).
@pytest.mark.guarantee(35, 43, 44)
@pytest.mark.paths(*(path for path in PREPARING if path is not HookPath.PREPARE_FIRST))
@pytest.mark.parametrize("nonsense", _NONSENSE.values(), ids=_NONSENSE)
def test_what_no_driver_may_ask_for_is_refused_and_warned_of_once(
    guest: Guest, stack: Prober, path: HookPath, nonsense: _Nonsense
) -> None:
    script = path_script(path, dataclasses.replace(nonsense.plan, vm_ops=VmOps.FULL))
    made = [script.map("m", TOP) for _ in range(2)]
    log = script.hooklog()
    with guest.expect_splat(SplatKind.WARNING, nonsense.warns, once=True):
        seen = stack.run(script)
    assert [seen[step].error for step in made] == [nonsense.error] * 2
    assert "mapped" not in names(seen[log].events)


def _references(counts: object) -> dict[str, int]:
    assert isinstance(counts, dict)
    return {key: counts[key] for key in ("file", "lower", "replacement", "page_count")}
