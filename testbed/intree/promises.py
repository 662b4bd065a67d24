# SPDX-License-Identifier: GPL-2.0
"""What the source of each in-tree hook promises by itself.

A comparison of two paths cannot show what a hook forgets, because both paths run the same hook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.intree.intreefile import LOW, InTreeFile

# The flags of a mapping of page frames (mm/memory.c, remap_pfn_range_prepare_vma()).
_REMAPPED = frozenset({"io", "pf", "de", "dd"})

# Flags that keep a mapping from growing, from merging and from being locked.
_FIXED_SIZE = frozenset({"de", "pf"})
SPECIAL = frozenset({"io", "pf", "de", "mm"})


@dataclass(frozen=True)
class Refusal:
    """A call that the hook refuses."""

    error: str
    pages: int
    offset: int = 0
    flags: str = "shared"
    prot: str = "r"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What mmap() of one in-tree file does, by the source of its hook."""

    flags: frozenset[str] = frozenset()  # that the hook adds, as smaps abbreviates them
    accesses: bool | None = False  # it counts as an access of the file; None: others decide
    refuses: tuple[Refusal, ...] = ()
    debugged: bool = True  # /proc/PID/mem reads its pages
    merges: bool = True  # with a neighbour in address and offset
    named: bool = False  # prctl(PR_SET_VMA_ANON_NAME) accepts it

    @property
    def grows(self) -> bool:
        return not self.flags & _FIXED_SIZE

    @property
    def locks(self) -> bool:
        """Whether mlock(2) marks it (mm/internal.h, vma_supports_mlock())."""
        return not self.flags & SPECIAL


# Hooks that call file_accessed(), and add nothing.
_CACHED = Promise(accesses=True)

# Read-only mounts, and servers, decide on access times themselves.
_SERVED = Promise(accesses=None)

PROMISES: Mapping[str, Promise] = {
    "zero-shared": Promise(merges=False, named=True),  # each mapping gets a file of its own
    "zero-private": Promise(),
    "mem": Promise(flags=_REMAPPED, merges=False),
    "shmem": Promise(accesses=True, named=True),
    "secretmem": Promise(
        flags=frozenset({"dd"}),
        refuses=(
            Refusal("EINVAL", 4, flags="private"),
            Refusal("EINVAL", 4, flags="private", prot="rw"),
        ),
        debugged=False,
    ),
    **dict.fromkeys(("ramfs", "ext2", "ext4", "xfs", "btrfs", "f2fs", "blkdev"), _CACHED),
    **dict.fromkeys(("squashfs", "erofs", "9p", "9p-uncached", "9p-2000u"), _SERVED),
    "hpet": Promise(
        flags=_REMAPPED,
        refuses=(Refusal("EINVAL", 2), Refusal("EINVAL", 1, offset=1)),
        debugged=False,
        merges=False,
    ),
    "relay": Promise(
        flags=frozenset({"de"}),
        refuses=(Refusal("EINVAL", 3), Refusal("EINVAL", 5), Refusal("EINVAL", 1, offset=3)),
        merges=False,
    ),
    "stm": Promise(
        flags=_REMAPPED,
        refuses=(Refusal("EINVAL", 2), Refusal("EINVAL", 1, offset=1)),
        debugged=False,
        merges=False,
    ),
}


def promise_of(file: InTreeFile) -> Promise:
    """Return what the hook of a file promises."""
    return PROMISES[file.name]


def path_of(file: InTreeFile) -> str:
    """Return the path that /proc/PID/maps shows of a direct mapping."""
    if file.name == "zero-shared":
        return "/dev/zero (deleted)"  # a file of its own
    kind, _, word, *_ = file.steps[0].split()
    unnamed = {"memfd": f"/memfd:{LOW} (deleted)", "secretmem": "/secretmem (deleted)"}
    return unnamed.get(kind, word)


def error_of_call(prot: str, sharing: str, mode: str = "rw", *, noexec: bool = False) -> str:
    """Return the errno with which do_mmap() itself refuses an access; "" if it does not."""
    if sharing == "shared" and "w" in prot and mode == "ro":
        return "EACCES"
    return "EPERM" if noexec and "x" in prot else ""


def flags_of_call(prot: str, sharing: str, mode: str = "rw", *, noexec: bool = False) -> set[str]:
    """Return the flags that do_mmap() itself gives a mapping of a file (mm/mmap.c).

    `mode` is the one of open(2), and `noexec` says whether the file's mount is.
    """
    found = {"mr", "mw", "me"}
    found |= {word for letter, word in (("r", "rd"), ("w", "wr"), ("x", "ex")) if letter in prot}
    if noexec:
        found -= {"me"}
    if sharing == "private":
        return found | ({"ac"} if "w" in prot else set())
    found |= {"ms"}
    return found | {"sh"} if mode == "rw" else found - {"mw"}
