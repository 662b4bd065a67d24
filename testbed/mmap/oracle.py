"""What must be equal on every path, in a canonical form (contract D)."""

from __future__ import annotations

import dataclasses

from testbed.mmap.observation import Event, Vma

# Differences that say nothing of the hook: KSM's early flag and the soft-dirty bit.
_DROPPED_VMFLAGS = frozenset({"mg", "sd"})

# Descriptor fields that depend on where the mapping was put or on which file stands where.
_PLACED = frozenset({"start", "end", "file", "vm_file"})


def canonical_vma(vma: Vma) -> dict[str, object]:
    """A VMA without its place and its file: equal on all paths for the same plan."""
    return {
        "size": vma.size,
        "perms": vma.perms,
        "offset": vma.offset,
        "vmflags": sorted(vma.vmflags - _DROPPED_VMFLAGS),
        "ProtectionKey": vma.smaps.get("ProtectionKey", 0),
    }


def without_may_exec(vma: Vma) -> Vma:
    """The VMA as the file of a noexec mount has it: that is up to the file that is mapped."""
    return dataclasses.replace(vma, vmflags=vma.vmflags - {"me"})


def canonical_descriptor(event: Event) -> dict[str, object]:
    """A descriptor without its place and its files: equal on all paths that run the hook."""
    kept = {key: value for key, value in event.values.items() if key not in _PLACED}
    return {**kept, "size": event.number("end") - event.number("start")}
