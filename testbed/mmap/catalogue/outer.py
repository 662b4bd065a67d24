# SPDX-License-Identifier: GPL-2.0
"""Outer hooks that change fields or fail, before or after the nested hook."""

from __future__ import annotations

from testbed.mmap.catalogue.defects import LOST_PRIVATE
from testbed.mmap.path import STACKS
from testbed.mmap.plan import VM_DONTCOPY, VM_MAYWRITE, VM_RAND_READ, Action, Plan, VmOps
from testbed.mmap.scenario import Call, Scenario

FULL = Plan(vm_ops=VmOps.FULL, private=0x51)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="outer-sets-flags",
        guarantees=(13, 19),
        plan=FULL,
        outer=Plan(set_flags=VM_DONTCOPY | VM_RAND_READ),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-flags-are-cleared-below",
        guarantees=(13, 19),
        plan=Plan(vm_ops=VmOps.FULL, clear_flags=VM_DONTCOPY),
        outer=Plan(set_flags=VM_DONTCOPY | VM_RAND_READ),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-clears-maywrite",
        guarantees=(13, 19),
        plan=FULL,
        outer=Plan(clear_flags=VM_MAYWRITE),
        call=Call(prot="r"),
        after=("mprotect m prot=rw",),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-sets-pgoff",
        guarantees=(12, 18),
        plan=FULL,
        outer=Plan(pgoff=9),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-sets-vm-ops",
        guarantees=(15,),
        plan=Plan(),
        outer=Plan(vm_ops=VmOps.FULL),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-vm-ops-are-replaced",
        guarantees=(15, 23),
        plan=Plan(vm_ops=VmOps.NO_CLOSE),
        outer=Plan(vm_ops=VmOps.FULL),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-private-data-is-overwritten",
        guarantees=(16, 24),
        plan=FULL,
        outer=Plan(private=0x77),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-private-data-is-left-alone",
        guarantees=(16,),
        plan=Plan(vm_ops=VmOps.FULL),
        outer=Plan(private=0x77),
        only_paths=STACKS,
        defects=(LOST_PRIVATE,),
    ),
    Scenario(
        name="outer-page-prot",
        guarantees=(14, 22),
        plan=FULL,
        outer=Plan(page_prot="noncached"),
        only_paths=STACKS,
    ),
    Scenario(
        name="outer-fails-before",
        guarantees=(28, 54),
        plan=FULL,
        outer=Plan(hook_error="-EPERM"),
        only_paths=STACKS,
    ),
    *(
        Scenario(
            name=f"outer-fails-after-{action}-{sharing}".replace("_", "-"),
            guarantees=(28, 50, 54),
            plan=Plan(vm_ops=VmOps.NO_CLOSE, action=action, private=0x3),
            outer=Plan(outer_error="-EPERM"),
            call=Call(flags=sharing),
            only_paths=STACKS,
        )
        for action in (Action.NONE, Action.REMAP, Action.KERNEL_PAGES)
        for sharing in ("shared", "private")
    ),
)
