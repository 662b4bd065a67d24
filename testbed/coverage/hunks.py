# SPDX-License-Identifier: GPL-2.0
"""The hunks of a series in the final text, and what the tests did with their lines. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """How a test reached a line."""

    DIRECT = "direct"
    STACK = "below a stack"
    ERROR = "error path"  # a call of the test failed, as it should
    FUZZ = "fuzz only"


@dataclass(frozen=True)
class Hunk:
    """Lines that a series adds to a file or changes there, by their final numbers."""

    file: str
    lines: range

    def __str__(self) -> str:
        last = self.lines.stop - 1
        place = str(last) if len(self.lines) == 1 else f"{self.lines.start}-{last}"
        return f"{self.file}:{place}"


def hunks_of(file: str, before: str, after: str) -> list[Hunk]:
    """Return the hunks that turn one text into another. Lines that only go away have none."""
    old, new = before.splitlines(), after.splitlines()
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [
        Hunk(file, range(first + 1, last + 1))
        for tag, _, _, first, last in codes
        if tag in ("insert", "replace")
    ]


@dataclass(frozen=True)
class LineRun:
    """The tests that ran one line, the first of each way."""

    tests: Mapping[Way, str]

    @property
    def way(self) -> Way | None:
        """The plainest way; None if nothing ran the line."""
        return next((way for way in Way if way in self.tests), None)


@dataclass(frozen=True)
class HunkRun:
    """What the tests did with a hunk. Lines without code do not count."""

    hunk: Hunk
    lines: Mapping[int, LineRun]  # those with code
    compiled: bool = True  # the configuration compiles the file

    def ran(self, way: Way | None) -> list[int]:
        return [number for number, line in self.lines.items() if line.way is way]

    @property
    def tests(self) -> dict[Way, str]:
        """The first test that ran a line of the hunk, for each way."""
        found: dict[Way, str] = {}
        for line in self.lines.values():
            for way, test in line.tests.items():
                found.setdefault(way, test)
        return found


@dataclass(frozen=True)
class Seen:
    """What one test ran: the lines of each file, and the ways in which it reached them."""

    test: str
    way: Way
    lines: Mapping[str, frozenset[int]]

    def ran(self, hunk: Hunk) -> bool:
        return not self.lines.get(hunk.file, frozenset()).isdisjoint(hunk.lines)


def hunk_runs(
    hunks: Sequence[Hunk], executable: Mapping[str, frozenset[int]], seen: Sequence[Seen]
) -> Iterator[HunkRun]:
    """Yield what the tests did with each hunk.

    `executable` are the lines with code of each file that was compiled with counters.
    """
    first: dict[tuple[str, int], dict[Way, str]] = {}
    for each in seen:
        for file, lines in each.lines.items():
            for number in lines:
                first.setdefault((file, number), {}).setdefault(each.way, each.test)
    for hunk in hunks:
        numbers = [number for number in hunk.lines if number in executable.get(hunk.file, ())]
        ran = {number: LineRun(first.get((hunk.file, number), {})) for number in numbers}
        yield HunkRun(hunk, ran, compiled=hunk.file in executable)
