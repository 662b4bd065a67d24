# SPDX-License-Identifier: GPL-2.0
"""A plan: the actions of a hook, as the kernel module accepts them (docs/probe.md, "The plan")."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

# Bits of vm_flags_t that tests set and clear (include/linux/mm.h).
VM_READ = 1 << 0
VM_WRITE = 1 << 1
VM_EXEC = 1 << 2
VM_SHARED = 1 << 3
VM_MAYREAD = 1 << 4
VM_MAYWRITE = 1 << 5
VM_MAYEXEC = 1 << 6
VM_MAYSHARE = 1 << 7
VM_PFNMAP = 1 << 10
VM_LOCKED = 1 << 13
VM_IO = 1 << 14
VM_SEQ_READ = 1 << 15
VM_RAND_READ = 1 << 16
VM_DONTCOPY = 1 << 17
VM_DONTEXPAND = 1 << 18
VM_LOCKONFAULT = 1 << 19
VM_ACCOUNT = 1 << 20
VM_NORESERVE = 1 << 21
VM_WIPEONFORK = 1 << 25
VM_DONTDUMP = 1 << 26
VM_SOFTDIRTY = 1 << 27
VM_MIXEDMAP = 1 << 28
VM_NOHUGEPAGE = 1 << 30
VM_MERGEABLE = 1 << 31
VM_PKEY_SHIFT = 32  # x86: lowest bit of the protection key
VM_MTE_ALLOWED = 1 << 37  # arm64

# VMA_REMAP_FLAGS of include/linux/mm.h: the flags of a PFN mapping.
VM_REMAP_FLAGS = VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP

# VMA_SPECIAL_FLAGS: a mapping with one of these is never merged and never locked.
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP


class VmOps(StrEnum):
    """The vm_ops that a hook sets. `full` has all logged operations except page_mkwrite."""

    LEAVE = "leave"
    NULL = "null"  # vma_desc_set_anonymous()
    FULL = "full"
    NO_CLOSE = "noclose"
    NO_MAPPED = "nomapped"
    MKWRITE = "mkwrite"


class Action(StrEnum):
    """The mmap_action that a hook requests (enum mmap_action_type)."""

    NONE = "none"
    REMAP = "remap"
    IOREMAP = "ioremap"
    SIMPLE_IOREMAP = "simple_ioremap"
    KERNEL_PAGES = "kernel_pages"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The actions of one open file's hook. The hook leaves a field alone if it is None here.

    Sizes and offsets are NUMBERs of the probe's language: bytes, or pages as in "2p".
    """

    set_flags: int | None = None
    clear_flags: int | None = None
    pgoff: int | None = None
    page_prot: str | None = None
    late_page_prot: int | None = None
    vm_ops: VmOps | None = None
    private: int | None = None
    action: Action | None = None
    action_offset: str | None = None
    action_size: str | None = None
    pool_page: int | None = None
    pool_byte: int | None = None
    pfn: int | None = None
    hook_error: str | None = None
    hook_error_after: str | None = None
    mapped_error: str | None = None
    mapped_private: int | None = None
    error_override: str | None = None
    hide: int | None = None
    replace: str | None = None
    shrink_start: str | None = None
    shrink_end: str | None = None
    widen_end: str | None = None
    scribble: int | None = None
    outer_error: str | None = None
    late: int | None = None  # of an outer mmap_prepare: it acts after the hook below
    unchecked: int | None = None
    bad_page: int | None = None

    def words(self) -> Iterator[str]:
        """Yield `key=value` for each field that is set, in the order of declaration."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield (
                    f"{field.name}={value:#x}"
                    if isinstance(value, int)
                    else (f"{field.name}={value}")
                )

    def __str__(self) -> str:
        return " ".join(self.words()) or "nothing"


NOTHING = Plan()
