# SPDX-License-Identifier: GPL-2.0
"""The reason why a hunk does not apply to the lines of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from testbed.kernel.difftext import Hunk

# Lines that stand in more places than this do not say where a hunk belongs.
_TOO_COMMON = 100

WHITE_SPACE = "differs in white space only"


def _tabs_lost(damaged: str, line: str) -> bool:
    return "\t" in line and "\t" not in damaged and damaged.split() == line.split()


# What mailers and editors do to the white space of a line: the first that explains all lines.
_DAMAGE: tuple[tuple[str, Callable[[str, str], bool]], ...] = (
    ("blanks at the end of lines are lost", lambda damaged, line: damaged == line.rstrip()),
    ("leading white space is lost", lambda damaged, line: damaged == line.lstrip()),
    ("lines end with CR LF", lambda damaged, line: damaged == f"{line}\r"),
    ("the mailer has turned tabs into blanks", _tabs_lost),
)


def why_not(hunk: Hunk, lines: list[str]) -> str:
    """Return the reason why a hunk does not apply to these lines."""
    if hunk.new and _stands_in(hunk.new, lines):
        return "it is already in the tree"
    if (damage := _white_space(hunk.old, lines)) is not None:
        return f"it {WHITE_SPACE}{damage}"
    start = _likely_start(hunk.old, lines)
    if start is None:
        return "the file has none of its lines"
    if start < 0:
        return "it would begin before the beginning of the file"
    for index, wanted in enumerate(hunk.old, start):
        if index >= len(lines):
            return f"line {index + 1} is behind the end, expected {_quoted(wanted)}"
        if lines[index] != wanted:
            return f"line {index + 1} is {_quoted(lines[index])}, expected {_quoted(wanted)}"
    return "an earlier hunk does not fit"


def _white_space(old: list[str], lines: list[str]) -> str | None:
    """Return what became of a hunk's white space; None where more than that differs."""
    bare = [_bare(line) for line in old]
    if not any(bare) or _stands_in(old, lines):
        return None
    all_bare = [_bare(line) for line in lines]
    start = next((at for at in range(len(lines)) if all_bare[at : at + len(bare)] == bare), None)
    if start is None:
        return None
    pairs = list(zip(old, lines[start : start + len(old)], strict=True))
    for damage, explains in _DAMAGE:
        if all(damaged == line or explains(damaged, line) for damaged, line in pairs):
            return f": {damage}"
    return ""


def _bare(line: str) -> str:
    return "".join(line.split())


def _quoted(line: str) -> str:
    return f"`{line.strip()}`" if line.strip() else "an empty line"


def _stands_in(part: list[str], lines: list[str]) -> bool:
    return any(
        lines[index : index + len(part)] == part
        for index, line in enumerate(lines)
        if line == part[0]
    )


def _likely_start(old: list[str], lines: list[str]) -> int | None:
    """Return the start, counted from 0, at which most lines of a hunk match; None if none do."""
    places: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        places.setdefault(line, []).append(index)
    votes: Counter[int] = Counter()
    for index, line in enumerate(old):
        found = places.get(line, [])
        if line.strip() and len(found) <= _TOO_COMMON:
            votes.update(place - index for place in found)
    return votes.most_common(1)[0][0] if votes else None
