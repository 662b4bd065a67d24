# SPDX-License-Identifier: GPL-2.0
"""Splats in a kernel log: the kernel's reports that something is wrong. Pure functions.

The title of a splat is the same in every run and on every architecture. It has the
class and the function, without offsets and compiler suffixes. The location in the
source changes between versions, so it is a separate field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.guest import trace
from testbed.guest.kmsg import plain_lines
from testbed.guest.splat_patterns import (
    CUT_HERE,
    MESSAGES,
    SPLAT_PATTERNS,
    End,
    Site,
    SplatKind,
    SplatPattern,
)

__all__ = ["Splat", "SplatKind", "find_splats"]

# The longest distance from the line "cut here" to the line that names the splat: a message
# stands between them, and output of other CPUs.
_HEADER_LINES = 12

# The longest report: lockdep's with two chains.
_MOST_LINES = 400

_END_TRACE = re.compile(r"---\[ end trace ")
_END_PANIC = re.compile(r"---\[ end Kernel panic|Kernel Offset:|Rebooting in|Memory Limit:")
_BAR = re.compile(r"={20,}$")


@dataclass(frozen=True)
class Splat:
    """One splat. `truncated`: its end is not in the log."""

    kind: SplatKind
    title: str
    text: str
    truncated: bool = False
    function: str = ""
    location: str = ""  # file:line, if the splat has it

    def __str__(self) -> str:
        return f"{self.title}{' (truncated)' if self.truncated else ''}"


@dataclass(frozen=True)
class _Found:
    """An opening: the first line of its splat, and the line that matched."""

    start: int
    line: int
    opening: SplatPattern
    match: re.Match[str]


def find_splats(log: str) -> list[Splat]:
    """Return all splats in console text or in /dev/kmsg records, in order."""
    lines = plain_lines(log)
    splats = []
    at = 0
    while at < len(lines):
        found = _opening_at(lines, at)
        if found is not None:
            end, complete = _find_end(lines, found)
            splats.append(_splat(lines[found.start : end], found, truncated=not complete))
            at = max(end, found.line + 1)
        elif CUT_HERE.match(lines[at]):
            end = min(at + _HEADER_LINES, len(lines))
            text = "\n".join(lines[at:end]).rstrip("\n")
            splats.append(Splat(SplatKind.UNKNOWN, "cut here", text, truncated=True))
            at += 1
        else:
            at += 1
    return splats


def _opening_at(lines: Sequence[str], at: int) -> _Found | None:
    """Return the splat that starts at a line. A bar or "cut here" belongs to the lines after it."""
    if CUT_HERE.match(lines[at]):
        for line in range(at + 1, min(at + _HEADER_LINES, len(lines))):
            if CUT_HERE.match(lines[line]):
                return None
            found = _match(lines, line, start=at)
            if found is not None:
                return found
        return None
    if _BAR.match(lines[at]) and at + 1 < len(lines):
        return _match(lines, at + 1, start=at)
    return _match(lines, at, start=at)


def _match(lines: Sequence[str], line: int, *, start: int) -> _Found | None:
    for opening in SPLAT_PATTERNS:
        match = opening.pattern.match(lines[line])
        if match is not None:
            return _Found(start, line, opening, match)
    return None


def _find_end(lines: Sequence[str], found: _Found) -> tuple[int, bool]:
    """Return the end of the splat (exclusive), and whether that end is in the log."""
    begin = found.line + 1
    stop = _next_splat(lines, found, begin)
    match found.opening.end:
        case End.LINE:
            return begin, True
        case End.MARK:
            return _after(lines, begin, stop, _END_TRACE)
        case End.BAR:
            end, complete = _after(lines, begin, stop, _BAR)
            return (end, True) if complete else _after(lines, begin, stop, _END_TRACE)
        case End.PANIC:
            return _end_of_panic(lines, begin, stop)
        case End.TRACE:
            return trace.find_end(lines, begin, stop)
        case End.ANY_TRACE:
            near = min(begin + _HEADER_LINES, stop)
            has_one = trace.find_header(lines, begin, near) is not None
            return trace.find_end(lines, begin, stop) if has_one else (begin, True)


def _next_splat(lines: Sequence[str], found: _Found, begin: int) -> int:
    """Return the first line that belongs to the next splat.

    The kernel prints an oops twice: the code that noticed it does, and die() does. Both
    belong to one splat. So do a maple tree's BUG and its dump.
    """
    one_more = found.opening.announces
    stop = min(begin + _MOST_LINES, len(lines))
    for line in range(begin, stop):
        if CUT_HERE.match(lines[line]):
            return line
        again = _match(lines, line, start=line)
        if again is None or again.opening.end is End.LINE:
            continue
        if not (one_more and again.opening.follows):
            return line
        one_more = False
    return stop


def _after(
    lines: Sequence[str], begin: int, stop: int, pattern: re.Pattern[str]
) -> tuple[int, bool]:
    for line in range(begin, stop):
        if pattern.match(lines[line]):
            return line + 1, True
    return stop, False


def _end_of_panic(lines: Sequence[str], begin: int, stop: int) -> tuple[int, bool]:
    # The machine ends after a panic: the splat goes on to the last line of that kind.
    ends = [line for line in range(begin, stop) if _END_PANIC.match(lines[line])]
    return (ends[-1] + 1, True) if ends else (stop, False)


def _splat(lines: Sequence[str], found: _Found, *, truncated: bool) -> Splat:
    opening, groups = found.opening, found.match.groupdict()
    kind, phrase, site = opening.kind, opening.phrase.format(**groups), opening.site
    head = lines[1 : found.line - found.start]
    for message in MESSAGES:
        match = next(filter(None, map(message.pattern.match, head)), None)
        if match is not None:
            phrase = message.phrase.format(**match.groupdict())
            kind, site = message.kind, Site.TRACE
            break
    function = _function(lines, site, groups)
    phrase = _without_numbers(phrase)
    return Splat(
        kind=kind,
        title=f"{phrase} in {function}" if function else phrase,
        text="\n".join(lines).rstrip("\n"),
        truncated=truncated,
        function=function,
        location=groups.get("location") or "",
    )


def _function(lines: Sequence[str], site: Site, groups: dict[str, str | None]) -> str:
    match site:
        case Site.NONE:
            return ""
        case Site.LINE:
            return trace.plain_name(groups.get("function") or "")
        case Site.COUNTER:
            return trace.program_counter(lines) or trace.first_frame(lines)
        case Site.TRACE:
            return trace.first_frame(lines)


def _without_numbers(phrase: str) -> str:
    """Replace addresses and pids, which a title must not depend on."""
    phrase = re.sub(r"\b(?:0x)?[0-9a-f]{12,}\b", "ADDR", phrase)
    return re.sub(r"(?<![\w.-])\d{2,}\b", "N", phrase).strip(" .")
