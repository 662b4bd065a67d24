# SPDX-License-Identifier: GPL-2.0
"""Calls of hooks by a macro that takes the member's name, as `call_memop(vb, mmap, ...)` does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from testbed.inventory.csyntax import Parsed, function_name, function_of, text_of
from testbed.inventory.ctext import Macro
from testbed.inventory.hook import Caller
from testbed.inventory.structs import Structs
from testbed.inventory.words import Use, member_words

_CALL = re.compile(r"\(?\s*\b(\w+)\s*\)?((?:\s*->\s*\w+)*)\s*->\s*(\w+)\s*\(")


@dataclass(frozen=True)
class CallMacro:
    """A macro whose body calls `ROOT->...->MEMBER()`, where ROOT and MEMBER are parameters."""

    name: str
    root: int  # the place of the parameter
    member: int
    chain: tuple[str, ...]


def call_macros(macros: Iterable[Macro]) -> dict[str, CallMacro]:
    """Return the macros that call a member which is their parameter, by name."""
    found = {}
    for macro in macros:
        names = macro.parameters or ()
        for match in _CALL.finditer(macro.body) if names else ():
            if match[1] in names and match[3] in names:
                chain = tuple(re.findall(r"\w+", match[2]))
                places = names.index(match[1]), names.index(match[3])
                found[macro.name] = CallMacro(macro.name, *places, chain)
    return found


def calls_by_macro(
    parsed: Parsed, names: Collection[str], macros: Mapping[str, CallMacro], structs: Structs
) -> Iterator[Caller]:
    """Yield the calls of members of these names by a macro."""
    text = parsed.text
    for word in member_words(text.text, names):
        node = parsed.node(word.start, word.end) if word.use is Use.ARGUMENT else None
        arguments = node.parent if node is not None else None
        call = arguments.parent if arguments is not None else None
        macro = macros.get(text_of(call.child_by_field_name("function"))) if call else None
        if call is None or arguments is None or macro is None:
            continue
        given = arguments.named_children
        if max(macro.root, macro.member) >= len(given) or given[macro.member] != node:
            continue
        root = given[macro.root]
        outer = structs.follow(structs.pointed(root, text.file), macro.chain[:-1], text.file)
        last = macro.chain[-1] if macro.chain else ""
        yield Caller(
            struct=structs.follow(outer, macro.chain[-1:], text.file),
            member=word.name,
            function=function_name(function_of(call)),
            file=text.file,
            line=text.line(word.start),
            text="->".join((text_of(root), *macro.chain, word.name)),
            holder=f"{outer}.{last}" if outer and last else "",
        )
