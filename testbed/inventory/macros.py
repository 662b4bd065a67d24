# SPDX-License-Identifier: GPL-2.0
"""Macros that hide hooks, taken from the tree's own #define lines.

A macro hides a hook if its body gives a value to a hook's member, or uses such a macro. Its uses
are the hooks. The tree is its own table of these macros: a new one needs no change here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from testbed.inventory.ctext import Macro

_OBJECT = re.compile(r"\bstruct\s+(\w+)\s+([\w#\s]+?)\s*(?:\[[^\]]*\]\s*)*=\s*\{")
_PASTE = re.compile(r"\s*##\s*")
_ARGUMENTS = re.compile(r"\s*\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Hidden:
    """A hook in the body of a macro. Names may still be the macro's parameters."""

    member: str
    value: str
    struct: str = ""  # empty: the text around the use says it
    name: str = ""


@dataclass(frozen=True)
class Hiding:
    """A macro with the hooks that it hides."""

    macro: Macro
    hooks: tuple[Hidden, ...]

    def used(self, arguments: tuple[str, ...]) -> list[Hidden]:
        """Return the hooks of a use with these arguments.

        Hooks that only differ by their function are alternatives of `#if`, and one hook.
        """
        found: dict[Hidden, list[str]] = {}
        for hook in self.filled(arguments):
            key = Hidden(hook.member, "", hook.struct, _pasted(hook.name))
            found.setdefault(key, []).append(_pasted(hook.value).strip("() "))
        return [
            replace(hook, value=" or ".join(dict.fromkeys(values)))
            for hook, values in found.items()
        ]

    def filled(self, arguments: tuple[str, ...]) -> list[Hidden]:
        """Return the hooks with the arguments in the place of the parameters."""
        values = dict(zip(self.macro.parameters or (), arguments, strict=False))
        return [
            Hidden(
                hook.member, _filled(hook.value, values), hook.struct, _filled(hook.name, values)
            )
            for hook in self.hooks
        ]


def hiding(
    macros: Iterable[Macro], members: Collection[str], known: Mapping[str, Hiding] | None = None
) -> dict[str, Hiding]:
    """Return the macros that hide a hook, by name. One that is defined twice has all hooks.

    Args:
        members: the members that hold hooks.
        known: macros of headers, which these macros may use. They are not returned.
    """
    given = re.compile(rf"\.\s*({'|'.join(sorted(members))})\s*=\s*([^,;{{}}]+)")
    found: dict[str, Hiding] = {}
    pending = list(macros)
    while True:
        before = len(found)
        pattern = use_pattern({**(known or {}), **found})
        rest = []
        for macro in pending:
            hooks = [*_direct(macro, given), *_indirect(macro, pattern, {**(known or {}), **found})]
            if hooks:
                earlier = found[macro.name].hooks if macro.name in found else ()
                found[macro.name] = Hiding(macro, tuple(dict.fromkeys((*earlier, *hooks))))
            else:
                rest.append(macro)
        pending = rest
        if len(found) == before:
            return found


def arguments_at(text: str) -> tuple[str, ...]:
    """Return the arguments of a macro's use: of the parentheses that a text begins with."""
    match = _ARGUMENTS.match(text)
    return tuple(_split(match[1])) if match else ()


def use_pattern(found: Collection[str]) -> re.Pattern[bytes] | None:
    """Return a pattern of the uses of macros; None without any."""
    return re.compile(rf"\b(?:{'|'.join(sorted(found))})\b".encode()) if found else None


def _direct(macro: Macro, given: re.Pattern[str]) -> Iterator[Hidden]:
    for match in given.finditer(macro.body):
        yield Hidden(match[1], match[2].strip(), *_around(macro.body, match.start()))


def _indirect(
    macro: Macro, pattern: re.Pattern[bytes] | None, found: Mapping[str, Hiding]
) -> Iterator[Hidden]:
    for match in pattern.finditer(macro.body.encode()) if pattern else ():
        name = match[0].decode()
        if name == macro.name:
            continue
        for hook in found[name].filled(arguments_at(macro.body[match.end() :])):
            if hook.struct:
                yield hook
            else:
                yield Hidden(hook.member, hook.value, *_around(macro.body, match.start()))


def _around(body: str, offset: int) -> tuple[str, str]:
    """Return struct and name of the object whose initialiser holds a place of a body."""
    objects = list(_OBJECT.finditer(body, 0, offset))
    if not objects:
        return "", ""
    last = objects[-1]
    if body.count("{", last.start(), offset) <= body.count("}", last.end(), offset):
        return "", ""
    name = _PASTE.sub(" ## ", last[2]).split()
    words = [word for word in name if not word.startswith("__") or "##" in name]
    return last[1], " ".join(words)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _WORD.sub(lambda match: values.get(match[0], match[0]), text)


def _pasted(text: str) -> str:
    return _PASTE.sub("", text).strip()


def _split(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()
