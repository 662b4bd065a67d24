# SPDX-License-Identifier: GPL-2.0
"""Hooks in Rust text. There are few, so they are found by their words alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from testbed.inventory.hook import Hook, Shape
from testbed.inventory.structs import Member

_COMMENT = re.compile(rb"//[^\n]*|/\*.*?\*/", re.DOTALL)
_OWNER = re.compile(rb"\bbindings::(\w+)\s*(?:\{|=)")
_CONST = re.compile(rb"\b(?:const|static)\s+(\w+)\s*:|\blet\s+mut\s+(\w+)\b")


def rust_hooks(
    file: str, content: bytes, members: Mapping[tuple[str, str], Member]
) -> Iterator[Hook]:
    """Yield the hooks of a file: `mmap: Some(f)` of an initialiser, or `x.mmap = Some(f)`."""
    names = "|".join(sorted({name for _, name in members}))
    given = re.compile(
        rf"[.\s{{,]({names})\s*[:=]\s*(?:if\b[^{{}}]*\{{\s*)?Some\(([\w:]+)\)".encode()
    )
    text = _COMMENT.sub(lambda match: re.sub(rb"[^\n]", b" ", match[0]), content)
    for match in given.finditer(text) if names else ():
        member = members.get((_last(_OWNER, text, match.start()), match[1].decode()))
        if member is not None:
            yield Hook(
                struct=member.struct,
                member=member.name,
                name=_last(_CONST, text, match.start()),
                function=match[2].decode().rpartition("::")[2],
                file=file,
                line=text.count(b"\n", 0, match.start(1)) + 1,
                shape=Shape.RUST,
                converted=member.converted,
            )


def _last(pattern: re.Pattern[bytes], text: bytes, end: int) -> str:
    """Return what the last match in front of a place has found."""
    found = ""
    for match in pattern.finditer(text, 0, end):
        found = next(filter(None, match.groups()), b"").decode()
    return found
