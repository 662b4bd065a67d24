# SPDX-License-Identifier: GPL-2.0
"""The script of a trial on one path. Its steps have the same numbers on every path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.check.drivernode import DriverNode
from testbed.check.mmapoffset import relative
from testbed.mmap.canonical import canonical_facts
from testbed.mmap.observation import Fact, Observation, Vma
from testbed.mmap.path import HookPath, stack_over
from testbed.mmap.script import Script

_LEVELS = 3

# The steps that open the files of the longest path: each level but the lowest needs a second step.
_OPENING = 2 * _LEVELS - 1

# A step without effect, which keeps the numbers equal.
_PAUSE = "#"

# Names and addresses of the driver, which may differ between versions.
_NAMES = (".vm_ops", ".private")
_FRAME = re.compile(r"(?:[\d.]+(?:e\+\d+)?)p")
_OFFSETS = 0x400  # pages; more is a frame number (mm/memory.c, get_remap_pgoff())

_FACT = re.compile(r"(\d+) (\w+)(.*)")

# Steps that open a file.
_OPENS = ("open", "opener")

# Steps that prepare files, which differ between paths.
_FILES = frozenset(
    {*_OPENS, "close", "lower", "ioctl", "read_file", "write_file", "await", "pause", "show"}
)

# Of a larger mapping, the trials read some pages of each unit.
_FEW = 32  # pages
_UNITS = 16

FILL = 0x11
FILLED = f"fill:{FILL:#x}"


@dataclass(frozen=True)
class BaseMapping:
    """A mapping that the driver allows. Every trial starts from one."""

    sharing: str
    pages: int
    offset: int  # pages
    prot: str

    def __str__(self) -> str:
        size = "1 page" if self.pages == 1 else f"{self.pages} pages"
        return f"{self.sharing} {self.prot}, {size} at page {self.offset}"

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
    mode: str = ""  # of open(2); empty: the node's
    probe_script: Script = field(init=False)
    top: str = field(init=False)  # the script's name of the file that is mapped
    opened: int = field(init=False)  # the step that opened the node
    _offsets: dict[str, int] = field(default_factory=dict)  # of mappings, in pages
    _read_at: dict[int, int] = field(default_factory=dict)  # the offset of each `read` step

    def __post_init__(self) -> None:
        self.mode = self.mode or self.node.mode
        self.probe_script = Script()
        self.probe_script.step("env")
        self._open()

    @property
    def prologue(self) -> int:
        """The number of steps before the trial's own."""
        return 1 + _OPENING + len(self.node.setup)

    def _open(self) -> None:
        end = len(self.probe_script.lines) + _OPENING + len(self.node.setup)
        self.opened = self.step(*self.node.opening("file", self.mode))
        for words in self.node.setup:
            self.step(*words)
        self.top = stack_over(self.probe_script, self.path, "file", self.mode)
        self._pause_to(end)

    def reopen(self) -> None:
        """Close every file of the path, and open it again: a driver may map once for each open."""
        self.close()
        self._open()

    def open_another(self, name: str) -> int:
        """Open the node once more, without a stack."""
        step = self.step(*self.node.opening(name, self.mode))
        for words in self.node.setup:
            self.step(*(name if word == "file" else word for word in words))
        return step

    def map(
        self, name: str = "m", *, pages: int = 0, more: str = "", file: str = "", **keys: str | int
    ) -> int:
        """Map the base mapping, with other values where they are given."""
        base = self.base
        values = {"offset": base.offset, "prot": base.prot, **keys}
        flags = ",".join(filter(None, (str(values.pop("sharing", base.sharing)), more)))
        addr = values.pop("addr", None)
        self._offsets[name] = int(values["offset"])
        return self.probe_script.map(
            name,
            file or self.top,
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

    def read(self, name: str = "m", pages: str = "") -> int:
        """Read pages, by default those of `sample`."""
        step = self.probe_script.read(name, pages or self._sample_words())
        self._read_at[step] = self._offsets.get(name, self.base.offset)
        return step

    def peek(self, way: str, name: str = "m", pages: str = "") -> int:
        """Read pages as another process does, by default those of `sample`."""
        step = self.step("peek", name, pages or self._sample_words(), f"by={way}")
        self._read_at[step] = self._offsets.get(name, self.base.offset)
        return step

    def poke(self, way: str, page: str, value: int) -> int:
        """Fill a page as another process does."""
        return self.step("poke", "m", page, hex(value), f"by={way}")

    def moved(self, name: str, offset: int = 0) -> None:
        """Note that mapping `name` now begins `offset` pages behind the base mapping's start."""
        self._offsets[name] = self.base.offset + offset

    @property
    def sample(self) -> list[int]:
        """The pages of the base mapping that the trials read: all, or some of a large one."""
        pages, unit = self.base.pages, self.node.unit
        if pages <= _FEW:
            return list(range(pages))
        starts = range(0, min(pages, _UNITS * unit), unit)
        ends = (start + unit - 1 for start in starts)
        return sorted({*starts, *ends, pages - 1})

    def _sample_words(self) -> str:
        return "all" if self.base.pages <= _FEW else ",".join(map(str, self.sample))

    @property
    def part(self) -> range:
        """The second unit of the base mapping, on which trials of a part work."""
        return range(self.node.unit, 2 * self.node.unit)

    @property
    def part_words(self) -> str:
        first, last = self.part[0], self.part[-1]
        return str(first) if first == last else f"{first}-{last}"

    @property
    def steady_page(self) -> str:
        """The first page of the base mapping that does not change by itself."""
        steady = (page for page in self.sample if not self._unsteady(self.base.offset, page))
        return str(next(steady, 0))

    def unsteady(self, read: int, page: int, *, across: bool) -> bool:
        """Whether the content of a page is not compared: `read` is a step, `page` an index."""
        return self._unsteady(self._read_at[read], page, across=across)

    def _unsteady(self, offset: int, page: int, *, across: bool = False) -> bool:
        return (across and not self.node.fresh) or self.node.unsteady.has(
            offset, page, across=across
        )

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
        lines = (line.split() for line in self.probe_script.lines)
        opens = (words[1] for words in lines if words[0] in _OPENS)
        for name in reversed([*dict.fromkeys(opens)]):
            self.step("close", name)
        self._pause_to(end)

    def facts(self, seen: Observation) -> dict[str, str]:
        """Return the facts of the trial's own steps, with keys `NUMBER LINE:FACT`.

        There are none if the node does not open in the trial's mode.
        """
        if seen[self.opened].error:
            return {}
        later = {
            (fact.step, fact.child, fact.round): self._steady(fact)
            for fact in relative(seen)
            if fact.step > self.prologue or fact.op == "env"  # has the page size
        }
        return dict(self._comparable(canonical_facts(dataclasses.replace(seen, facts=later))))

    def _steady(self, fact: Fact) -> Fact:
        """Leave out the content of pages that another mapping may show differently."""
        if fact.op not in ("read", "peek"):
            return fact
        pages = [
            {key: value for key, value in page.items() if key != "content"}
            if self.unsteady(fact.step, page["page"], across=True)
            else page
            for page in fact.values["pages"]
        ]
        return dataclasses.replace(fact, values={**fact.values, "pages": pages})

    def _comparable(self, facts: dict[str, str]) -> Iterator[tuple[str, str]]:
        """Yield the facts that can be compared between paths and between versions."""
        for where, value in facts.items():
            match = _FACT.fullmatch(where)
            assert match is not None, where
            number, step, rest = match.groups()
            if (
                step in _FILES
                or rest.endswith(_NAMES)
                or (rest.endswith(".content") and not self.node.memory)
            ):
                continue
            if rest.endswith((".offset", ".pgoff")) and _is_frame(value):
                value = "a frame"
            words = self.probe_script.lines[int(number) - 1].split(" ")
            words[2:3] = ["FILE" if word == self.top else word for word in words[2:3]]
            yield f"{int(number) - self.prologue} {' '.join(words)}:{rest}", value

    def _pause_to(self, end: int) -> None:
        while len(self.probe_script.lines) < end:
            self.step(_PAUSE)


def _is_frame(value: str) -> bool:
    return _FRAME.fullmatch(value) is not None and float(value[:-1]) >= _OFFSETS


def whole(vmas: list[Vma]) -> int:
    """Return the size of all VMAs together, in bytes."""
    return sum(vma.size for vma in vmas)
