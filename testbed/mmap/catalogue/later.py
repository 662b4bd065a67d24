# SPDX-License-Identifier: GPL-2.0
"""Later operations of userspace on a mapping, which do not depend on its path."""

from __future__ import annotations

from testbed.mmap.plan import VM_DONTEXPAND, Action, Plan, VmOps
from testbed.mmap.scenario import Call, Scenario

_ROOM = "map room anon len=8p flags=private"

_PLANS = {
    "faulted": Plan(vm_ops=VmOps.FULL, private=0x51),
    "remapped": Plan(vm_ops=VmOps.FULL, private=0x51, action=Action.REMAP),
    "inserted": Plan(vm_ops=VmOps.FULL, private=0x51, action=Action.KERNEL_PAGES),
    "anonymous": Plan(vm_ops=VmOps.NULL),
    "dummy": Plan(),
}

_OPERATIONS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "split-by-munmap": ((65,), ("munmap m 1", "maps m", "munmap m 3", "maps m", "read m all")),
    "split-by-mprotect": (
        (65,),
        ("mprotect m prot=r 1-2", "maps m", "write m all 0x5", "mprotect m prot=rw 1-2", "maps m"),
    ),
    "head-and-tail": ((65,), ("munmap m 0", "munmap m 3", "maps m", "read m 1-2")),
    "grow": ((66,), ("mremap m len=6p flags=maymove", "maps m", "read m all")),
    "shrink": ((66,), ("mremap m len=2p", "maps m", "read m all")),
    "move": (
        (66,),
        (_ROOM, "mremap m len=4p flags=maymove,fixed addr=room+1p", "maps m", "read m all"),
    ),
    "move-a-part": (
        (65, 66),
        (
            _ROOM,
            "mremap m len=2p from=1p old=2p flags=maymove,fixed addr=room as=n",
            "maps m",
            "maps n",
            "read n all",
        ),
    ),
    "dontunmap": (
        (66,),
        ("mremap m len=4p flags=maymove,dontunmap as=n", "maps m", "maps n", "read n all"),
    ),
    "fork": (
        (67,),
        ("fork", "maps m", "pagemap m", "read m all", "munmap m 1", "endfork", "read m all"),
    ),
    "fork-and-exit": ((53, 67), ("fork", "maps m", "endfork")),
    "dontfork": ((67,), ("madvise m dontfork", "fork", "maps m", "endfork", "maps m")),
    "mlock": (
        (69,),
        ("mlock m", "maps m", "status", "munlock m 1", "maps m", "munlock m", "status"),
    ),
    "advice": (
        (65,),
        ("madvise m random 0-1", "madvise m dontneed", "maps m", "read m all", "madvise m cold"),
    ),
    "populate": ((70,), ("madvise m populate_read", "madvise m populate_write", "pagemap m")),
    "msync": ((65,), ("write m 0 0x5", "msync m", "msync m flags=async", "read m all")),
    "protect-and-touch": (
        (19,),
        ("mprotect m prot=none", "read m all", "mprotect m prot=rwx", "read m all", "maps m"),
    ),
}


def _crossed() -> list[Scenario]:
    return [
        Scenario(
            name=f"{name}-{operation}-{sharing}",
            guarantees=(*items, 24),
            plan=plan,
            call=Call(flags=sharing, offset=0 if name == "dummy" else 2),
            after=steps,
        )
        for operation, (items, steps) in _OPERATIONS.items()
        for name, plan in _PLANS.items()
        for sharing in ("shared", "private")
        if _wanted(name, operation, sharing)
    ]


def _wanted(plan: str, operation: str, sharing: str) -> bool:
    """Whether to make the scenario: all pairs, but private mappings only where pages are copied."""
    if plan in ("anonymous",):
        return sharing == "private"
    if plan == "dummy":
        return sharing == "shared" and operation in ("split-by-munmap", "move", "fork")
    return sharing == "shared" or operation in ("fork", "move", "advice", "split-by-mprotect")


SCENARIOS: tuple[Scenario, ...] = (
    *_crossed(),
    Scenario(
        name="dontexpand-cannot-grow",
        guarantees=(19, 66),
        plan=Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTEXPAND),
        after=(
            "mremap m len=6p flags=maymove",
            "mremap m len=2p",
            "mremap m len=2p flags=maymove,dontunmap as=n",
            "maps m",
        ),
    ),
    Scenario(
        name="untouched",
        guarantees=(27, 53),
        plan=Plan(vm_ops=VmOps.FULL),
        call=Call(flags="private"),
        touch=False,
    ),
    Scenario(
        name="file-is-closed-first",
        guarantees=(27,),
        plan=Plan(vm_ops=VmOps.FULL),
        call=Call(pages=1),
        after=("counts top", "fork", "close top", "read m all", "endfork"),
    ),
)
