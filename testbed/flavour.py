# SPDX-License-Identifier: GPL-2.0
"""Flavours: kinds of kernel that differ only in configuration, as one table."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.arch import ARCHES, Arch
from testbed.errors import SetupError
from testbed.suggest import suggest


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """One kind of kernel: its fragments, and its cost compared with the base flavour."""

    name: str
    fragments: tuple[str, ...] = ()  # files of kernel-config, which override all others
    arches: tuple[str, ...] = tuple(ARCHES)
    cmdline: tuple[str, ...] = ()  # words for the kernel's command line
    x86_cmdline: tuple[str, ...] = ()  # further ones on x86_64
    more_memory_mib: int = 0  # extra memory of a VM
    slowdown: int = 1  # factor by which waits for a guest are longer
    recipes: bool = False  # it also has what the recipes of drivers ask for

    def __str__(self) -> str:
        return self.name

    def words(self, arch: Arch) -> tuple[str, ...]:
        """Return the words for the command line of an architecture's kernel."""
        return (*self.cmdline, *(self.x86_cmdline if arch is ARCHES["x86_64"] else ()))


BASE = "base"

# The kernel's own drivers as subjects (docs/drivers.md).
DRIVERS = "drivers"

FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour(name=BASE),
        # Takes more memory: KASAN's shadow and quarantine, kmemleak's record of each object,
        # page_ext.
        Flavour(
            name="debug",
            fragments=("flavour-debug.config",),
            # Sheaves keep the addresses of objects that they gave away. kmemleak takes those for
            # references: it found 16 of 100 lost objects. A cache with checks has no sheaves
            # (mm/slub.c, calculate_sheaf_capacity()).
            cmdline=("slab_debug=P",),
            # identify_cpu() clears the feature bits of the processor before it fills them again.
            # KASAN computes the start of memory from the bit for five levels of page tables, and
            # reports an interrupt's accesses in between as wild (docs/findings.md).
            x86_cmdline=("no5lvl",),
            more_memory_mib=1024,
            slowdown=4,
        ),
        Flavour(
            name=DRIVERS,
            fragments=("flavour-drivers.config",),
            more_memory_mib=256,
            recipes=True,
        ),
        # The fuzzer's: it sees what a program reaches, and lets allocations fail.
        Flavour(name="kcov", fragments=("flavour-kcov.config",)),
        Flavour(name="16k", fragments=("flavour-16k.config",), arches=("arm64",)),
        # Page tables, stacks and pages of the page cache are 16 times as large.
        Flavour(
            name="64k",
            fragments=("flavour-64k.config",),
            arches=("arm64",),
            more_memory_mib=512,
        ),
    )
}


def find_flavour(name: str, arches: tuple[str, ...] = ()) -> Flavour:
    """Return the flavour that a user named. Each of `arches` must have it.

    Raises:
        SetupError: there is no such flavour, or an architecture lacks it.
    """
    if name not in FLAVOURS:
        raise SetupError(f"unknown flavour {name!r}", hint=suggest(name, FLAVOURS))
    flavour = FLAVOURS[name]
    for arch in arches:
        if arch not in flavour.arches:
            hint = f"give --arch {','.join(flavour.arches)}"
            raise SetupError(f"{arch} has no flavour {name}", hint=hint)
    return flavour
