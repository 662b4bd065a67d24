# SPDX-License-Identifier: GPL-2.0
"""A plan: what a hook does, as the kernel module takes it (docs/probe.md, "The plan")."""

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
VM_PKEY_SHIFT = 32  # x86: the protection key's lowest bit
VM_MTE_ALLOWED = 1 << 37  # arm64

# What a PFN mapping is marked with (VMA_REMAP_FLAGS of include/linux/mm.h), and which
# mappings are special: never merged, never locked (VMA_SPECIAL_FLAGS).
VM_REMAP_FLAGS = VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP


class VmOps(StrEnum):
    """The vm_ops that a hook sets; `full` has every operation that the log knows."""

    LEAVE = "leave"
    NULL = "null"  # vma_desc_set_anonymous()
    FULL = "full"
    NO_CLOSE = "noclose"
    NO_MAPPED = "nomapped"
    MKWRITE = "mkwrite"


class Action(StrEnum):
    """The mmap_action that a hook asks for (enum mmap_action_type)."""

    NONE = "none"
    REMAP = "remap"
    IOREMAP = "ioremap"
    SIMPLE_IOREMAP = "simple_ioremap"
    KERNEL_PAGES = "kernel_pages"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the hook of one open file does. None: the hook leaves it alone.

    Sizes and offsets are NUMBERs of the probe's language: bytes, or "2p" for pages.
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
    unchecked: int | None = None
    bad_page: int | None = None

    def words(self) -> Iterator[str]:
        """`key=value` for each field that is set, in the order of the declaration."""
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
