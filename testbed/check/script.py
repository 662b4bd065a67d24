# SPDX-License-Identifier: GPL-2.0
"""The script of a trial on one path. Its steps have the same numbers on every path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.mmap.canonical import canonical_facts
from testbed.mmap.observation import Observation, Vma
from testbed.mmap.path import HookPath, stack_over
from testbed.mmap.script import Script

# The steps before a trial's own: `env`, and opening the files of the longest path.
_PROLOGUE = 6

_LEVELS = 3

# A step without effect, which keeps the numbers equal.
_PAUSE = "#"

# Names and addresses of the driver, which may differ between versions.
_NAMES = (".vm_ops", ".private")
_FRAME = re.compile(r"(?:[\d.]+(?:e\+\d+)?)p")
_OFFSETS = 0x400  # pages; more is a frame number (mm/memory.c, get_remap_pgoff())

_FACT = re.compile(r"(\d+) (\w+)(.*)")

FILL = 0x11
FILLED = f"fill:{FILL:#x}"


@dataclass(frozen=True)
class DriverNode:
    """The node that the trials map, and its properties."""

    path: str
    module: str
    memory: bool  # plain memory, which keeps written values

    @property
    def is_device(self) -> bool:
        """Whether an open file pins the module. A file of sysfs or debugfs does not."""
        return self.path.startswith("/dev/")


@dataclass(frozen=True)
class BaseMapping:
    """A mapping that the driver allows. Every trial starts from one."""

    sharing: str
    pages: int
    offset: int  # pages
    prot: str

    def __str__(self) -> str:
        return f"{self.sharing} {self.prot}, {self.pages} pages at page {self.offset}"

    @property
    def writable(self) -> bool:
        return "w" in self.prot

    @property
    def perms(self) -> str:
        """The access as /proc/PID/maps shows it."""
        return perms(self.prot, self.sharing)


def perms(prot: str, sharing: str) -> str:
    """Return the access of a mapping as /proc/PID/maps shows it."""
    letters = "".join(letter if letter in prot.replace("none", "") else "-" for letter in "rwx")
    return letters + sharing[0]


@dataclass
class DriverScript:
    """A script that has opened the node, and the files above it on the path."""

    path: HookPath
    node: DriverNode
    base: BaseMapping
    mode: str = "rw"
    probe_script: Script = field(init=False)
    top: str = field(init=False)  # the script's name of the file that is mapped

    def __post_init__(self) -> None:
        self.probe_script = Script()
        self.probe_script.step("env")
        self.probe_script.open("file", self.node.path, self.mode)
        self.top = stack_over(self.probe_script, self.path, "file", self.mode)
        self._pause_to(_PROLOGUE)

    def map(self, name: str = "m", *, pages: int = 0, more: str = "", **keys: str | int) -> int:
        """Map the base mapping, with other values where they are given."""
        base = self.base
        values = {"offset": base.offset, "prot": base.prot, **keys}
        flags = ",".join(filter(None, (str(values.pop("sharing", base.sharing)), more)))
        addr = values.pop("addr", None)
        return self.probe_script.map(
            name,
            self.top,
            pages=pages or base.pages,
            offset=int(values["offset"]),
            prot=str(values["prot"]),
            flags=flags,
            addr=None if addr is None else str(addr),
        )

    def room(self, pages: int, *, name: str = "room", filled: bool = False) -> int:
        """Map anonymous memory, over which later steps map."""
        prot = "rw" if filled else "none"
        step = self.probe_script.map(name, "anon", pages=pages, prot=prot, flags="private")
        if filled:
            self.probe_script.write(name, FILL)
        return step

    def step(self, *words: str) -> int:
        return self.probe_script.step(*words)

    def read(self, name: str = "m", pages: str = "all") -> int:
        return self.probe_script.read(name, pages)

    def write(self, name: str = "m", pages: str = "all") -> int:
        """Fill pages, unless the node is not plain memory."""
        if not self.node.memory:
            return self.step(_PAUSE)
        return self.probe_script.write(name, FILL, pages)

    def maps(self, name: str = "m") -> int:
        return self.probe_script.maps(name)

    def unmap(self, name: str = "m") -> int:
        """Unmap a mapping. Return the number of the `maps` step that follows."""
        self.step("munmap", name)
        return self.maps(name)

    def close(self) -> None:
        """Close every file of the path. The mapping must not need them."""
        end = len(self.probe_script.lines) + _LEVELS
        levels = [line.split()[1] for line in self.probe_script.lines if line.startswith("open ")]
        for name in reversed(levels):
            self.step("close", name)
        self._pause_to(end)

    def facts(self, seen: Observation) -> dict[str, str]:
        """Return the facts of the trial's own steps, with keys `NUMBER LINE:FACT`."""
        later = {
            key: fact
            for key, fact in seen.facts.items()
            if key[0] > _PROLOGUE or fact.op == "env"  # has the page size
        }
        return dict(self._comparable(canonical_facts(dataclasses.replace(seen, facts=later))))

    def _comparable(self, facts: dict[str, str]) -> Iterator[tuple[str, str]]:
        """Yield the facts that can be compared between paths and between versions."""
        for where, value in facts.items():
            match = _FACT.fullmatch(where)
            assert match is not None, where
            number, step, rest = match.groups()
            if (
                step == "close"
                or rest.endswith(_NAMES)
                or (rest.endswith(".content") and not self.node.memory)
            ):
                continue
            if rest.endswith((".offset", ".pgoff")) and _is_frame(value):
                value = "a frame"
            words = self.probe_script.lines[int(number) - 1].split(" ")
            words[2:3] = ["FILE" if word == self.top else word for word in words[2:3]]
            yield f"{int(number) - _PROLOGUE} {' '.join(words)}:{rest}", value

    def _pause_to(self, end: int) -> None:
        while len(self.probe_script.lines) < end:
            self.step(_PAUSE)


def _is_frame(value: str) -> bool:
    return _FRAME.fullmatch(value) is not None and float(value[:-1]) >= _OFFSETS


def whole(vmas: list[Vma]) -> int:
    """Return the size of all VMAs together, in bytes."""
    return sum(vma.size for vma in vmas)
