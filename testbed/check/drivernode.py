# SPDX-License-Identifier: GPL-2.0
"""The node that the trials map: how it is opened, and which of its pages keep their content."""

from __future__ import annotations

from dataclasses import dataclass, field

# Steps that make an open file ready for mmap(), in the language of the probe (docs/probe.md).
# `file` is the script's name of the file.
Setup = tuple[tuple[str, ...], ...]

_DEBUGFS = "/sys/kernel/debug/"


@dataclass(frozen=True)
class Unsteady:
    """Pages whose content is not compared.

    A page is a pair: the offset of a mapping, and an index in it, both in pages. Most drivers
    count the offset in pages, so that (0, 3) and (1, 2) are one page. Others number their buffers
    with it (UIO): there, a few steady pages are left out, too.
    """

    by_itself: frozenset[tuple[int, int]] = frozenset()  # changes while nobody uses it
    by_mapping: frozenset[tuple[int, int]] = frozenset()  # another mapping shows other content

    def has(self, offset: int, page: int, *, across: bool) -> bool:
        """Whether a page may change, within one mapping or `across` two mappings."""
        known = self.by_itself | self.by_mapping if across else self.by_itself
        return any(offset + page == at + index for at, index in known)

    def __or__(self, other: Unsteady) -> Unsteady:
        return Unsteady(self.by_itself | other.by_itself, self.by_mapping | other.by_mapping)


@dataclass(frozen=True)
class DriverNode:
    """The node that the trials map, and its properties."""

    path: str
    module: str  # the module that an open file of the node pins; "" if that is not the driver's
    memory: bool  # plain memory, which keeps written values
    mode: str = "rw"  # of open(2), as the driver permits it
    setup: Setup = ()  # steps after each open(2)
    unit: int = 1  # pages; mappings are cut at its multiples only
    unsteady: Unsteady = field(default_factory=Unsteady)
    fresh: bool = True  # no earlier trial has written to the pages
    opener: tuple[str, ...] = ()  # kind and options of the probe's step `opener`

    def opening(self, name: str, mode: str) -> tuple[str, ...]:
        """Return the step that opens it, in the language of the probe."""
        return opening_words(self.path, self.opener, name, mode)

    @property
    def is_device(self) -> bool:
        """Whether an open file pins a module. A file of sysfs or debugfs does not."""
        return bool(self.opener) or self.path.startswith("/dev/")

    @property
    def needs_own_file(self) -> bool:
        """Whether the VMA must have this file: kernfs looks itself up in it (fs/kernfs/file.c)."""
        return self.path.startswith("/sys/") and not self.path.startswith(_DEBUGFS)


def opening_words(path: str, opener: tuple[str, ...], name: str, mode: str) -> tuple[str, ...]:
    """Return the step that opens a path, or a file by an opener, in the language of the probe."""
    if opener:
        return ("opener", name, *opener, mode)
    return ("open", name, path, mode)
