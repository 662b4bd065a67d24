# SPDX-License-Identifier: GPL-2.0
"""Flavours: kinds of kernel that differ in configuration alone, as one table."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.arch import ARCHES, Arch
from testbed.errors import SetupError
from testbed.suggest import suggest


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """One kind of kernel: its fragments, and what it costs beside the base flavour."""

    name: str
    fragments: tuple[str, ...] = ()  # files of kernel-config, with the last word
    arches: tuple[str, ...] = tuple(ARCHES)
    cmdline: tuple[str, ...] = ()  # words for the kernel
    x86_cmdline: tuple[str, ...] = ()  # further ones on x86_64
    more_memory_mib: int = 0  # that a VM needs
    slowdown: int = 1  # how many times longer a guest is waited for

    def __str__(self) -> str:
        return self.name

    def words(self, arch: Arch) -> tuple[str, ...]:
        """What the kernel of an architecture is told."""
        return (*self.cmdline, *(self.x86_cmdline if arch is ARCHES["x86_64"] else ()))


BASE = "base"

FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour(name=BASE),
        # KASAN's shadow and quarantine, kmemleak's record of each object, page_ext.
        Flavour(
            name="debug",
            fragments=("flavour-debug.config",),
            # A cache with checks has no sheaves (mm/slub.c, calculate_sheaf_capacity()). They
            # keep the addresses of objects that they gave away, and kmemleak takes those for
            # references: of 100 lost objects it found 16.
            cmdline=("slab_debug=P",),
            # While identify_cpu() finds out what the processor has, nothing is said to be there.
            # KASAN takes an interrupt's accesses for wild then: it asks whether there are five
            # levels of page tables to know where memory begins (docs/findings.md).
            x86_cmdline=("no5lvl",),
            more_memory_mib=1024,
            slowdown=4,
        ),
        Flavour(name="16k", fragments=("flavour-16k.config",), arches=("arm64",)),
        # A page table, a stack, a page of the page cache: each is 16 times what it was.
        Flavour(
            name="64k",
            fragments=("flavour-64k.config",),
            arches=("arm64",),
            more_memory_mib=512,
        ),
    )
}


def find_flavour(name: str, arches: tuple[str, ...] = ()) -> Flavour:
    """The flavour of that name, as given by a user, which each of `arches` must have.

    Raises:
        SetupError: no such flavour, or an architecture does not have it.
    """
    if name not in FLAVOURS:
        raise SetupError(f"unknown flavour {name!r}", hint=suggest(name, FLAVOURS))
    flavour = FLAVOURS[name]
    for arch in arches:
        if arch not in flavour.arches:
            hint = f"give --arch {','.join(flavour.arches)}"
            raise SetupError(f"{arch} has no flavour {name}", hint=hint)
    return flavour
