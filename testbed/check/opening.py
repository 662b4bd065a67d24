# SPDX-License-Identifier: GPL-2.0
"""How the node can be opened: for reading and writing, or for one of them, and what it pins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.check.drivernode import DriverNode, Setup, opening_words
from testbed.check.filesteps import shown
from testbed.check.loading import references
from testbed.check.mmapoffset import returned_offset
from testbed.mmap.observation import Observation
from testbed.mmap.script import Script

_MODES = {"rw": "reading and writing", "ro": "reading", "wo": "writing"}

# mmap() of a file that is not open for reading fails (mm/mmap.c, do_mmap()).
_MAPPABLE = ("rw", "ro")

_MODULES = "/proc/modules"

# Of all kernels. mmap() refuses an offset that is not a multiple of the page size.
_SMALLEST_PAGE = 4096
_NOT_WHOLE = "not a multiple of the page size (is it at another byte, or has it other bits?)"


@dataclass(frozen=True)
class Opening:
    """How the trials open the node."""

    mode: str = "rw"
    owner: str = ""  # the driver's module that an open file pins; "" if another module is pinned
    error: str = ""  # of opening for reading and writing
    mmap_offset: int | None = None  # in bytes, which a step of the plan or the opener returned
    pages: int = 0  # of the file, if an opener reports it; 0: no limit

    def notes(self, node: DriverNode) -> Iterator[str]:
        if self.mode != "rw":
            yield f"{node.path} opens for {_MODES[self.mode]} only (rw: {self.error})"
        if self.mmap_offset:
            yield f"offsets count from the mmap offset of the ioctl, at first {self.mmap_offset:#x}"


@dataclass
class Opener:
    """Opens the node in each mode, with the steps of the plan after it."""

    node: str
    modules: Sequence[str]  # of the driver
    setup: Setup
    kind: tuple[str, ...] = ()  # of the probe's step `opener`; empty: open(2)
    script: Script = field(default_factory=Script)
    opening: Opening = field(default_factory=Opening)
    _opens: dict[str, int] = field(default_factory=dict)  # by mode

    def __post_init__(self) -> None:
        self._before = self.script.step("show", _MODULES)
        for mode in _MODES:
            words = opening_words(self.node, self.kind, "file", mode)
            self._opens[mode] = self.script.step(*words)
            for words in self.setup:
                self.script.step(*words)
            self.script.step("show", _MODULES)
            self.script.step("close", "file")

    def judge(self, seen: Observation) -> tuple[list[str], Mapping[str, str]]:
        """Choose the mode. Complain if there is none, or if a step fails in it."""
        errors = {mode: seen[step].error for mode, step in self._opens.items()}
        mode = next((mode for mode in _MAPPABLE if not errors[mode]), "")
        if not mode:
            return [self._unopened(seen) if self.kind else _unmappable(errors)], {}
        offset = self._mmap_offset(seen, mode)
        pages = int(seen[self._opens[mode]].values.get("pages", 0))
        self.opening = Opening(mode, self._owner(seen, mode), errors["rw"], offset, pages)
        failed = list(self._failed_steps(seen, mode))
        if offset is not None and offset % _SMALLEST_PAGE:
            failed.append(f"the mmap offset that the ioctl returns is {offset:#x}: {_NOT_WHOLE}")
        return failed, {}

    def _unopened(self, seen: Observation) -> str:
        """Return which call of the opener fails."""
        fact = seen[self._opens["rw"]]
        return f"the opener {' '.join(self.kind)} fails: {fact.values['failed']}: {fact.error}"

    def _mmap_offset(self, seen: Observation, mode: str) -> int | None:
        """Return the offset from which mappings count, if a step or the opener returned one."""
        steps = range(self._opens[mode], self._opens[mode] + 1 + len(self.setup))
        offsets = (returned_offset(seen[step]) for step in steps)
        return next((offset for offset in offsets if offset is not None), None)

    def _failed_steps(self, seen: Observation, mode: str) -> Iterator[str]:
        for number, words in enumerate(self.setup, 1):
            if error := seen[self._opens[mode] + number].error:
                yield f"step {number} of the plan fails: {shown(words)}: {error}"
                return

    def _owner(self, seen: Observation, mode: str) -> str:
        """Return the driver's module that the open file pins.

        If it pins no module at all, this is the module that is loaded last: its file_operations
        lack .owner, or the file belongs to the kernel itself.
        """
        after = self._opens[mode] + len(self.setup) + 1
        free, held = (_pins(seen, step) for step in (self._before, after))
        pinned = [name for name, count in held.items() if count > free.get(name, 0)]
        own = [name for name in self.modules if name in pinned]
        if own or pinned:
            return own[-1] if own else ""
        return self.modules[-1] if self.modules else ""


def _pins(seen: Observation, step: int) -> dict[str, int]:
    return references("\n".join(seen[step].values.get("lines", ())))


def _unmappable(errors: Mapping[str, str]) -> str:
    if not errors["wo"]:
        return (
            f"the node opens for writing only (rw: {errors['rw']}, ro: {errors['ro']}), but mmap() "
            "needs a file that is open for reading"
        )
    if len({*errors.values()}) == 1:
        return f"the node cannot be opened: {errors['rw']}"
    return "the node cannot be opened: " + ", ".join(f"{k}: {v}" for k, v in errors.items())
