# SPDX-License-Identifier: GPL-2.0
"""Words with `mmap` in a text, found without a parser: members that are given something or called.

A pattern that begins with a class of characters is slow on 100 MB of text. So the four letters
are searched, and the text around them is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, auto

_MMAP = re.compile(rb"mmap\w*")
_AFTER = re.compile(rb"\s*(=(?!=)|\)?\s*\(|[,);])")
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_SPACE = frozenset(b" \t\n")


class Use(Enum):
    """What happens to a member."""

    GIVEN = auto()  # `.MEMBER =`
    CALLED = auto()  # `->MEMBER(`
    POINTER = auto()  # `(*MEMBER)(`: it is declared
    TAKEN = auto()  # `x = y->MEMBER;`
    ARGUMENT = auto()  # `f(x, MEMBER, ...)`: no member, or one that a macro calls


@dataclass(frozen=True)
class Word:
    """A word at a place."""

    name: str
    start: int
    end: int
    use: Use


def member_words(text: bytes, names: Collection[str] | None = None) -> Iterator[Word]:
    """Yield the words that are members by what stands around them, of these names if given."""
    for match in _MMAP.finditer(text):
        after = _AFTER.match(text, match.end())
        if after is None:
            continue
        start = match.start()
        while start and text[start - 1] in _LETTERS:
            start -= 1
        use = _use(text, start, after[1])
        if use is not None:
            name = text[start : match.end()].decode()
            if names is None or name in names:
                yield Word(name, start, match.end(), use)


def _use(text: bytes, start: int, after: bytes) -> Use | None:
    place = start - 1
    while place >= 0 and text[place] in _SPACE:
        place -= 1
    before = text[max(0, place - 1) : place + 1]
    if before.endswith(b".") or before == b"->":
        others = {b"=": Use.GIVEN, b";": Use.TAKEN, b",": None, b")": None}
        return others.get(after, Use.CALLED)
    if before.endswith(b"*"):
        return Use.POINTER if len(after) > 1 else None
    return Use.ARGUMENT if before[-1:] in (b"(", b",") and after in (b",", b")") else None
