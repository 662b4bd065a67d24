# SPDX-License-Identifier: GPL-2.0
"""A file that the kernel itself serves, and the ways to it that have to show the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from testbed.fuzz.program import Program
from testbed.lab.guest import Guest
from testbed.mmap.path import TOP
from testbed.mmap.script import Script

# Stands for the length of a program's mapping, in lines that make a file of this length.
PAGES = "PAGES"

# A longer mapping is not read as a whole, nor does a program touch more of its pages.
MOST_PAGES = 64


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The ways to one file, in a guest that is ready. The first one is the reference."""

    name: str
    opening: Mapping[str, tuple[str, ...]]  # by way: the lines that open the file as TOP
    mapping: Mapping[str, str] = field(default_factory=dict)  # a line in place of the mmap
    closing: tuple[str, ...] = ()  # lines at the end
    sharing: tuple[str, ...] = ()  # what the file permits; empty: all
    offset: int | None = None  # pages, in place of the program's
    base: int = 0  # pages, to which a program's offset is added
    steady: bool = True  # all ways show the same content
    executable: bool = True  # on all ways, or on none
    balanced: bool = True  # nothing leaks, as far as is known
    places: bool = False  # one way has a get_unmapped_area() of its own

    def __str__(self) -> str:
        return self.name

    @property
    def reference(self) -> str:
        return next(iter(self.opening))

    def lines(self, way: str, program: Program) -> tuple[str, ...]:
        """Return the lines that open the file: as many for each way."""
        most = max(map(len, self.opening.values()))
        own = [_sized(line, program) for line in self.opening[way]]
        return (*("env",) * (most - len(own)), *own)

    def map(self, script: Script, way: str, program: Program) -> int:
        """Add the program's mmap call as this file takes it. Return the step."""
        if way in self.mapping:
            return script.step(*_sized(self.mapping[way], program).split())
        call = program.call
        offset = call.offset if self.offset is None else self.offset
        return script.map(
            "m", TOP, pages=call.pages, offset=self.base + offset, prot=call.prot,
            flags=self.flags(call.flags), addr=call.addr,
        )  # fmt: skip

    def flags(self, flags: str) -> str:
        """Return the flags, with a way of sharing that the file permits."""
        sharing, *others = flags.split(",")
        shared = "private" if sharing == "private" else "shared"
        permitted = not self.sharing or shared in self.sharing
        return ",".join([sharing if permitted else self.sharing[0], *others])


def _sized(line: str, program: Program) -> str:
    return line.replace(PAGES, f"{min(program.call.pages, MOST_PAGES)}p")


@dataclass(frozen=True)
class KernelFile:
    """A file that the kernel itself serves, before a guest is ready for it."""

    name: str
    ready: Callable[[Guest], Ways]  # raises GuestError if the guest's kernel cannot serve it

    def __str__(self) -> str:
        return self.name
