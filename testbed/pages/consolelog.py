# SPDX-License-Identifier: GPL-2.0
"""A console log as lines, with the kernel's splats marked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed.guest.kmsg import plain_lines
from testbed.guest.splat import Splat, find_splats

# A page shows at most so many lines of a log: the last ones, and those of splats.
_LINES = 4000


@dataclass(frozen=True)
class Marked:
    """A splat, and where it stands in the log: lines from 1, the last one included."""

    splat: Splat
    first: int
    last: int


@dataclass(frozen=True)
class ConsoleLine:
    """One line of the log."""

    number: int
    text: str
    splat: bool


@dataclass(frozen=True)
class ConsoleLog:
    """The console of one VM."""

    path: Path
    lines: tuple[str, ...]
    marked: tuple[Marked, ...]

    def shown(self) -> list[ConsoleLine]:
        """Return the lines that a page shows."""
        inside = {n for mark in self.marked for n in range(mark.first, mark.last + 1)}
        begin = len(self.lines) - _LINES
        return [
            ConsoleLine(number, text, number in inside)
            for number, text in enumerate(self.lines, 1)
            if number > begin or number in inside
        ]


def read_console(path: Path) -> ConsoleLog | None:
    """Read a console's log; None if it is not there."""
    try:
        text = path.read_text(errors="replace").replace("\r", "")
    except OSError:
        return None
    plain = plain_lines(text)
    raw = text.split("\n")
    # Records of /dev/kmsg in between have other lines than their plain text.
    lines = raw if len(raw) == len(plain) else plain
    return ConsoleLog(path, tuple(map(_printable, lines)), tuple(_marked(text, plain)))


def _marked(text: str, plain: list[str]) -> list[Marked]:
    found, at = [], 0
    for splat in find_splats(text):
        wanted = splat.text.split("\n")
        starts = range(at, len(plain) - len(wanted) + 1)
        start = next((n for n in starts if plain[n : n + len(wanted)] == wanted), None)
        if start is not None:
            at = start + len(wanted)
            found.append(Marked(splat, start + 1, at))
    return found


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\t" else "\ufffd" for each in text)
