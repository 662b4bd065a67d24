# SPDX-License-Identifier: GPL-2.0
"""Two mmap_prepare hooks on one descriptor: both want the action, the vm_ops, or the private data.

A descriptor has one of each. What is set last counts: by the hook below, or by an outer hook that
acts after it (`late`).
"""

from __future__ import annotations

from testbed.mmap.path import PREPARE_STACKS
from testbed.mmap.plan import VM_DONTCOPY, VM_RAND_READ, Action, Plan, VmOps
from testbed.mmap.scenario import Call, Scenario

_FULL = Plan(vm_ops=VmOps.FULL, private=0x51)


def _two(name: str, plan: Plan, outer: Plan, *guarantees: int, flags: str = "shared") -> Scenario:
    return Scenario(
        name=f"both-{name}",
        guarantees=guarantees,
        plan=plan,
        outer=outer,
        call=Call(flags=flags),
        only_paths=PREPARE_STACKS,
    )


SCENARIOS: tuple[Scenario, ...] = (
    *(
        _two(
            f"{first}-then-{second}-{sharing}".replace("_", "-"),
            Plan(vm_ops=VmOps.FULL, action=second),
            Plan(action=first, pool_page=8),
            76,
            flags=sharing,
        )
        for first, second in (
            (Action.REMAP, Action.KERNEL_PAGES),
            (Action.KERNEL_PAGES, Action.REMAP),
            (Action.SIMPLE_IOREMAP, Action.NONE),
            (Action.KERNEL_PAGES, Action.NONE),
        )
        for sharing in ("shared", "private")
    ),
    *(
        _two(
            f"{second}-after-{first}".replace("_", "-"),
            Plan(vm_ops=VmOps.FULL, action=first),
            Plan(action=second, pool_page=8, late=1),
            76,
        )
        for first, second in (
            (Action.REMAP, Action.KERNEL_PAGES),
            (Action.KERNEL_PAGES, Action.REMAP),
            (Action.NONE, Action.IOREMAP),
        )
    ),
    # The mapped() and close() of the hook below never run.
    _two("vm-ops-after", _FULL, Plan(vm_ops=VmOps.NO_MAPPED, late=1), 77),
    _two("mapped-after", Plan(vm_ops=VmOps.NO_MAPPED), Plan(vm_ops=VmOps.FULL, late=1), 77),
    _two("vm-ops-null-after", _FULL, Plan(vm_ops=VmOps.NULL, late=1), 23, 77),
    _two("private-data-before", Plan(vm_ops=VmOps.FULL), Plan(private=0x77), 77),
    _two("private-data-after", _FULL, Plan(private=0x77, late=1), 77),
    _two(
        "flags-after",
        Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTCOPY),
        Plan(set_flags=VM_RAND_READ, clear_flags=VM_DONTCOPY, late=1),
        19,
        77,
    ),
    _two("pgoff-after", Plan(vm_ops=VmOps.FULL, pgoff=5), Plan(pgoff=9, late=1), 18, 77),
    # The hook below has found its pages: an error of the outer hook is the core's only news.
    _two(
        "outer-fails-after-a-late-action",
        Plan(vm_ops=VmOps.FULL, action=Action.REMAP),
        Plan(action=Action.KERNEL_PAGES, outer_error="-EPERM", late=1),
        28,
        78,
    ),
    _two(
        "outer-fails-before-a-wrong-action",
        Plan(vm_ops=VmOps.FULL, action=Action.REMAP, action_offset="3p", action_size="1p"),
        Plan(outer_error="-EPERM"),
        28,
        78,
    ),
)
