# SPDX-License-Identifier: GPL-2.0
"""The perf record of a mapping (guarantee 74): made after the hooks, with their results."""

from __future__ import annotations

import pytest

from testbed.mmap.path import TOP, HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script

pytestmark = [pytest.mark.kconfig("PERF_EVENTS"), pytest.mark.guarantee(74)]

PLANS = {
    "faulted": Plan(vm_ops=VmOps.FULL, pgoff=9),
    "remapped": Plan(vm_ops=VmOps.FULL, pgoff=9, action=Action.REMAP),
    "inserted": Plan(vm_ops=VmOps.FULL, pgoff=9, action=Action.KERNEL_PAGES),
}


@pytest.mark.parametrize("flags", ["shared", "private"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_perf_is_told_once_what_the_hook_left(
    stack: Prober, path: HookPath, plan: Plan, flags: str
) -> None:
    script = path_script(path, plan)
    on = script.step("perf")
    made = script.map("m", TOP, pages=3, offset=1, flags=flags)
    logged, maps = script.step("perflog", "m"), script.maps("m")
    seen = stack.run(script)
    vma = seen[maps].vma
    assert seen[on].error == ""
    assert seen[logged].values["records"] == [
        {
            "addr": f"{seen[made].address:#x}",
            "len": vma.size,
            "offset": f"{vma.offset:#x}",
            "read": True,
            "write": True,
            "exec": False,
            "shared": flags == "shared",
            "path": vma.path,
        }
    ]
    assert vma.path == f"/dev/{path.shape.final_vm_file}"


@pytest.mark.parametrize(
    "plan",
    [Plan(hook_error="-EIO"), Plan(vm_ops=VmOps.FULL, hook_error_after="-EIO")],
    ids=["at-once", "late"],
)
def test_perf_is_not_told_of_a_mapping_whose_hook_fails(
    stack: Prober, path: HookPath, plan: Plan
) -> None:
    script = path_script(path, plan)
    script.map("room", "anon", pages=4, prot="none", flags="private")
    script.step("perf")
    failed = script.map("m", TOP, pages=2, flags="shared,fixed", addr="room+1p")
    logged = script.step("perflog", "room")
    script.map("m", "anon", pages=2, flags="private,fixed", addr="room+1p")
    control = script.step("perflog", "room")
    seen = stack.run(script)
    assert seen[failed].error == "EIO"
    assert seen[logged].values["records"] == []
    assert [record["path"] for record in seen[control].values["records"]] == ["//anon"]
