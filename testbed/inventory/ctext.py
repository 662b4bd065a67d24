# SPDX-License-Identifier: GPL-2.0
"""C text without what a parser of C alone cannot read: comments, directives, attributes.

They are replaced by blanks, so that offsets and lines stay those of the file. What `#if 0` removes
is blank too; of other conditions all branches stay, as if the text had no condition.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from testbed.inventory.conditions import joined, negated

_LITERAL = re.compile(rb"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)
_DIRECTIVE = re.compile(rb"^[ \t]*#[ \t]*(\w*)((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)

# Words of the compiler and of sparse that stand among the words of a declaration.
_ATTRIBUTE = re.compile(
    rb"__(?:user|iomem|percpu|rcu|force|init|exit|initdata|initconst|exitdata|ref|refdata|"
    rb"refconst|net_init|net_exit|maybe_unused|always_unused|ro_after_init|read_mostly|"
    rb"always_inline|must_check|cold|hot|pure|weak|used|sched|cpuidle|latent_entropy|"
    rb"randomize_layout|no_sanitize_address|packed|bpf_kfunc)\b|"
    # With arguments; a string in them is blank already.
    rb"__(?:aligned|section|attribute__)\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
)
_WORDS = (b"noinline ", b"notrace ", b"asmlinkage ")
_CONDITIONS = frozenset(
    (b"if", b"ifdef", b"ifndef", b"elif", b"elifdef", b"elifndef", b"else", b"endif")
)
_DEFINE = re.compile(rb"\s*(\w+)(\(([^)]*)\))?(.*)", re.DOTALL)
_BLANKS = bytes(byte if byte == ord("\n") else ord(" ") for byte in range(256))


@dataclass(frozen=True)
class Macro:
    """A #define."""

    name: str
    parameters: tuple[str, ...] | None  # None: it is used without parentheses
    body: str  # on one line
    file: str
    line: int


@dataclass(frozen=True)
class _Branch:
    """A directive of a condition: its place, and the conditions that hold from there on."""

    offset: int
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class CText:
    """One file. `text` has its length and its lines."""

    file: str
    text: bytes
    macros: tuple[Macro, ...]
    branches: tuple[_Branch, ...]

    def line(self, offset: int) -> int:
        """Return the number of a line, from 1."""
        return self.text.count(b"\n", 0, offset) + 1

    def guard(self, offset: int) -> str:
        """Return the conditions of the preprocessor around a place, joined by `&&`."""
        place = bisect.bisect_right(self.branches, offset, key=lambda branch: branch.offset)
        return joined(self.branches[place - 1].conditions) if place else ""

    @cached_property
    def items(self) -> list[tuple[int, int]]:
        """Return the ends of parts that a `}` in the first column ends: one definition in each."""
        ends = [
            match.end()
            for match in re.finditer(rb"\n\}[^\n]*", self.text)
            if not match[0].endswith(b"{")
        ]
        return list(zip([0, *ends], [*ends, len(self.text)], strict=True))

    def item(self, offset: int) -> tuple[int, int]:
        """Return the part that holds a place."""
        place = bisect.bisect_right(self.items, offset, key=lambda item: item[0])
        return self.items[place - 1]


def read_c(file: str, content: bytes) -> CText:
    """Read the content of a file."""
    # Blanks instead of CR: a line that goes on would not be known.
    text = _LITERAL.sub(_without_literal, content.replace(b"\\\r\n", b" \\\n"))
    macros: list[Macro] = []
    branches: list[_Branch] = []
    parts: list[bytes] = []
    end, stack = 0, _Stack()
    for match in _DIRECTIVE.finditer(text):
        between = text[end : match.start()]
        removed = stack.removed
        parts += [blank(between) if removed else between, blank(match[0])]
        end = match.end()
        if match[1] == b"define" and not removed:
            macros += _macro(match[2], file, text.count(b"\n", 0, end) + 1)
        elif match[1] in _CONDITIONS:
            stack.take(match[1].decode(), _one_line(match[2]))
            branches.append(_Branch(match.start(), stack.conditions))
    parts.append(text[end:])
    whole = _ATTRIBUTE.sub(_blanked, b"".join(parts))
    for word in _WORDS:
        whole = whole.replace(word, b" " * len(word))
    return CText(file, whole, tuple(macros), tuple(branches))


def blank(text: bytes) -> bytes:
    """Return blanks in the place of a text; lines stay lines."""
    return text.translate(_BLANKS)


def plain(text: bytes) -> str:
    """Return a text on one line, with single blanks."""
    return " ".join(text.decode(errors="replace").split())


@dataclass(frozen=True)
class _Open:
    """An open condition: its present branch, and the branches before it. `#else` has no text."""

    branch: str
    earlier: tuple[str, ...] = ()

    @property
    def removed(self) -> bool:
        return self.branch == "0" or "1" in self.earlier

    @property
    def condition(self) -> str:
        """What holds in the present branch."""
        return joined((*map(negated, self.denied), self.branch))

    @property
    def denied(self) -> Iterator[str]:
        return (branch for branch in self.earlier if branch != "0")


class _Stack:
    """The open conditions."""

    def __init__(self) -> None:
        self._open: list[_Open] = []

    @property
    def conditions(self) -> tuple[str, ...]:
        return tuple(filter(None, (each.condition for each in self._open)))

    @property
    def removed(self) -> bool:
        return any(each.removed for each in self._open)

    def take(self, word: str, rest: str) -> None:
        """Take a directive of a condition."""
        branch = f"!{rest}" if word in ("ifndef", "elifndef") else rest
        if word in ("if", "ifdef", "ifndef"):
            self._open.append(_Open(branch))
        elif self._open:
            last = self._open.pop()
            if word != "endif":
                branch = "" if word == "else" else branch
                self._open.append(_Open(branch, (*last.earlier, last.branch)))


def _macro(rest: bytes, file: str, line: int) -> Iterator[Macro]:
    if (match := _DEFINE.match(rest)) is None:
        return
    names = None
    if match[2] is not None:
        names = tuple(name.strip() for name in match[3].decode(errors="replace").split(","))
    yield Macro(match[1].decode(), names, _one_line(match[4]), file, line)


def _one_line(text: bytes) -> str:
    return plain(text.replace(b"\\\n", b" "))


def _without_literal(match: re.Match[bytes]) -> bytes:
    found = match[0]
    if found[:1] == b"/":
        return blank(found)
    return found[:1] + blank(found[1:-1]) + found[-1:]


def _blanked(match: re.Match[bytes]) -> bytes:
    return b" " * len(match[0])
