# SPDX-License-Identifier: GPL-2.0
"""Hooks that replace vm_file by another file."""

from __future__ import annotations

from testbed.mmap.catalogue.defects import KEPT, KEPT_SHMEM, REFUSED
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.scenario import Call, Scenario

_MEMFD = "memfd spare 8p"

SCENARIOS: tuple[Scenario, ...] = (
    *(
        Scenario(
            name=f"replace-file-{sharing}-{ops}",
            guarantees=(25, 27, 29, 31, 32),
            plan=Plan(vm_ops=ops, replace="file", private=0x4),
            call=Call(flags=sharing, offset=1),
            spare=_MEMFD,
            after=("fork", "read m all", "endfork", "munmap m 1", "maps m"),
            defects=(KEPT,),
        )
        for sharing in ("shared", "private")
        for ops in (VmOps.FULL, VmOps.LEAVE)
    ),
    Scenario(
        name="replace-file-over-another",
        guarantees=(29, 31, 55),
        plan=Plan(vm_ops=VmOps.FULL, replace="file"),
        spare=_MEMFD,
        before=("map old anon len=8p flags=private", "write old all 0x11"),
        call=Call(flags="private,fixed", addr="old+2p"),
        after=("read old all", "maps old"),
        defects=(KEPT,),
    ),
    Scenario(
        name="replace-file-and-insert-pages",
        guarantees=(29, 31, 41),
        plan=Plan(vm_ops=VmOps.FULL, replace="file", action=Action.KERNEL_PAGES),
        spare=_MEMFD,
        defects=(KEPT,),
    ),
    Scenario(
        name="replace-file-and-hook-fails",
        guarantees=(28, 54),
        plan=Plan(vm_ops=VmOps.FULL, replace="file", hook_error_after="-EIO"),
        spare=_MEMFD,
    ),
    Scenario(
        name="replace-file-and-mapped-fails",
        guarantees=(28, 51),
        plan=Plan(vm_ops=VmOps.NO_CLOSE, replace="file", mapped_error="-EIO"),
        spare=_MEMFD,
        defects=(KEPT,),
    ),
    Scenario(
        name="replace-file-and-action-fails",
        guarantees=(28, 30, 33),
        plan=Plan(
            vm_ops=VmOps.FULL,
            replace="file",
            action=Action.KERNEL_PAGES,
            action_offset="3p",
            action_size="2p",
        ),
        spare=_MEMFD,
        defects=(REFUSED,),
    ),
    Scenario(
        name="replace-shmem",
        guarantees=(25, 27, 29, 31),
        plan=Plan(vm_ops=VmOps.FULL, replace="shmem"),
        defects=(KEPT_SHMEM,),
    ),
)
