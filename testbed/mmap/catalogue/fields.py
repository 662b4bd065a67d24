# SPDX-License-Identifier: GPL-2.0
"""The fields of the descriptor on entry to the hook, and the effect of the hook's changes."""

from __future__ import annotations

from testbed.mmap.plan import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_EXEC,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_RAND_READ,
    VM_SEQ_READ,
    VM_WIPEONFORK,
    Plan,
    VmOps,
)
from testbed.mmap.scenario import Call, Scenario

_ENTRY = (8, 9, 10, 11, 12, 13, 14, 15, 16, 17)

FULL = Plan(vm_ops=VmOps.FULL, private=0x51)

_SET = {
    "dontcopy": VM_DONTCOPY,
    "dontexpand": VM_DONTEXPAND,
    "dontdump": VM_DONTDUMP,
    "seq-read": VM_SEQ_READ,
    "rand-read": VM_RAND_READ,
    "noreserve": VM_NORESERVE,
    "nohugepage": VM_NOHUGEPAGE,
    "several": VM_DONTCOPY | VM_DONTDUMP | VM_RAND_READ,
}

_CLEARED = {
    "maywrite": (VM_MAYWRITE, "r"),
    "mayread": (VM_MAYREAD, "none"),
    "mayexec": (VM_MAYEXEC, "rw"),
    "mayshare": (VM_MAYSHARE, "rw"),
    "exec": (VM_EXEC, "rwx"),
}


def _kinds() -> list[Scenario]:
    return [
        Scenario(
            name=f"map-{prot}-{sharing}",
            guarantees=(*_ENTRY, 18, 23, 24),
            plan=FULL,
            call=Call(prot=prot, flags=sharing, offset=3, pages=5),
        )
        for prot in ("none", "r", "rw", "rwx")
        for sharing in ("shared", "private")
    ]


def _flags() -> list[Scenario]:
    extra = ("locked", "populate", "noreserve", "locked,populate")
    return [
        Scenario(
            name=f"map-{sharing}-{words.replace(',', '-')}",
            guarantees=(13, 69, 70),
            plan=FULL,
            call=Call(flags=f"{sharing},{words}"),
        )
        for words in extra
        for sharing in ("shared", "private")
    ]


def _operations() -> list[Scenario]:
    return [
        Scenario(
            name=f"vm-ops-{ops}-{sharing}",
            guarantees=(15, 23, 48, 53),
            plan=Plan(vm_ops=ops, private=0x9),
            call=Call(flags=sharing, offset=2),
            after=("write m all 0xa5", "read m all", "maps m"),
        )
        for ops in VmOps
        if ops is not VmOps.MKWRITE
        for sharing in ("shared", "private")
    ]


def _set_flags() -> list[Scenario]:
    return [
        Scenario(
            name=f"set-{name}",
            guarantees=(19,),
            plan=Plan(vm_ops=VmOps.FULL, set_flags=bits),
            after=("fork", "maps m", "endfork", "mremap m len=6p flags=maymove", "maps m"),
        )
        for name, bits in _SET.items()
    ]


def _cleared_flags() -> list[Scenario]:
    return [
        Scenario(
            name=f"clear-{name}-{sharing}",
            guarantees=(19,),
            plan=Plan(vm_ops=VmOps.FULL, clear_flags=bits),
            call=Call(prot=prot, flags=sharing),
            after=("mprotect m prot=rwx", "maps m", "vma m", "mprotect m prot=r", "maps m"),
        )
        for name, (bits, prot) in _CLEARED.items()
        for sharing in ("shared", "private")
        if (name, sharing) != ("mayshare", "private")
    ]


SCENARIOS: tuple[Scenario, ...] = (
    *_kinds(),
    *_flags(),
    *_operations(),
    *_set_flags(),
    *_cleared_flags(),
    Scenario(
        name="set-and-clear",
        guarantees=(19,),
        plan=Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTCOPY | VM_MAYWRITE, clear_flags=VM_MAYWRITE),
    ),
    Scenario(
        name="wipe-on-fork",
        guarantees=(19, 67),
        plan=Plan(vm_ops=VmOps.NULL, set_flags=VM_WIPEONFORK),
        call=Call(flags="private"),
        after=("write m all 0xbeef", "fork", "read m all", "endfork", "read m all"),
    ),
    Scenario(
        name="mm-and-file-are-scribbled-over",
        guarantees=(26, 27),
        plan=Plan(vm_ops=VmOps.FULL, private=0x5, scribble=1),
        call=Call(offset=1),
    ),
    Scenario(
        name="pgoff",
        guarantees=(12, 18),
        plan=Plan(vm_ops=VmOps.FULL, pgoff=20),
        call=Call(offset=1),
    ),
    Scenario(
        name="pgoff-beyond-the-pool",
        guarantees=(18, 37),
        plan=Plan(vm_ops=VmOps.FULL, pgoff=62),
    ),
    Scenario(name="no-private-data", guarantees=(24,), plan=Plan(vm_ops=VmOps.FULL)),
    Scenario(
        name="mapped-stores-private-data",
        guarantees=(24, 49),
        plan=Plan(vm_ops=VmOps.FULL, private=0x1, mapped_private=0x2),
    ),
    *(
        Scenario(
            name=f"page-prot-{prot}",
            guarantees=(22,),
            plan=Plan(vm_ops=VmOps.FULL, page_prot=prot),
            call=Call(flags=flags),
            after=("mprotect m prot=r", "vma m", "mprotect m prot=rw", "vma m"),
        )
        for prot, flags in (("noncached", "shared"), ("writecombine", "private"))
    ),
    *(
        Scenario(
            name=f"shrink-{side}",
            guarantees=(21,),
            plan=Plan(vm_ops=VmOps.FULL, shrink_start=start, shrink_end=end),
        )
        for side, start, end in (("start", "1p", None), ("end", None, "1p"), ("both", "1p", "2p"))
    ),
)
