# SPDX-License-Identifier: GPL-2.0
"""Finds the hooks of a tree: which files can hold one, and what these hold.

Headers are looked at first: they say which members hold hooks, and which macros hide some. Only
files with such a word are read as C, and only the parts around a word are parsed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from testbed.inventory.callmacros import call_macros, calls_by_macro
from testbed.inventory.csyntax import Parsed
from testbed.inventory.ctext import read_c
from testbed.inventory.deeds import Functions, calls_of_hooks
from testbed.inventory.hook import Caller, Hook
from testbed.inventory.macros import Hiding, hiding, use_pattern
from testbed.inventory.rusttext import rust_hooks
from testbed.inventory.sites import Sites
from testbed.inventory.structs import Member, Structs, hook_members
from testbed.inventory.treefiles import TreeFiles
from testbed.inventory.words import Use, member_words

# The beginning of the names of both types that a hook can get.
_VMA = b"vm_area_"
_TAKES_VMA = re.compile(rb"vm_area_(?:struct|desc)\b[^;{}]*\)\s*\{")


@dataclass
class Found:
    """What a tree has, before symbols and architectures are looked up."""

    members: dict[tuple[str, str], Member] = field(default_factory=dict)
    macros: dict[str, Hiding] = field(default_factory=dict)
    hooks: list[Hook] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    functions: Functions = field(default_factory=Functions)
    unread: list[str] = field(default_factory=list)  # places like a hook that are unclear
    files: int = 0  # that were read as C


def find(text: TreeFiles) -> Found:
    """Find the hooks of a tree."""
    return _Finder(text).find()


class _Finder:
    def __init__(self, text: TreeFiles) -> None:
        self._text = text
        self._found = Found()
        self._structs = Structs(text.read)
        self._files: dict[str, Parsed] = {}

    def find(self) -> Found:
        """Find all that there is. Each step needs what the steps before it have found."""
        found = self._found
        headers = self._names(".h")
        self._read(self._text.having([b"mmap", _VMA], headers))
        self._take_members()
        macros = (macro for parsed in self._files.values() for macro in parsed.text.macros)
        found.macros = hiding(macros, {name for _, name in found.members})
        uses = [_stem(name) for name in found.macros]
        self._read(
            self._text.having({b"mmap": 0, _VMA: 0, **dict.fromkeys(uses)}, self._names(".c"))
        )
        for name, content in self._text.having([b"\nstruct "], self._shared(headers)):
            self._structs.note(name, content)
        self._take_members()
        self._take_functions()
        self._take_hooks()
        found.files = len(self._files)
        found.hooks.sort(key=lambda hook: (hook.file, hook.line, hook.name))
        return found

    def _names(self, *suffixes: str) -> list[str]:
        return [name for name in self._text.names if name.endswith(suffixes)]

    def _read(self, files: Iterator[tuple[str, bytes]]) -> None:
        uses = use_pattern(self._found.macros)
        for name, content in files:
            if name not in self._files and _interesting(content, uses):
                self._structs.note(name, content)
                self._files[name] = Parsed(read_c(name, content))

    def _take_members(self) -> None:
        for parsed in self._files.values():
            for member in hook_members(parsed):
                self._found.members[member.struct, member.name] = member

    def _shared(self, headers: Collection[str]) -> list[str]:
        """Return further headers that may define the structs of expressions."""
        folders = {name.rpartition("/")[0] for name in self._files}
        return [
            name
            for name in headers
            if name not in self._files
            and (name.startswith("include/") or name.rpartition("/")[0] in folders)
        ]

    def _take_functions(self) -> None:
        names = {name for _, name in self._found.members}
        files = self._files.values()
        macros = call_macros(macro for parsed in files for macro in parsed.text.macros)
        for parsed in files:
            calls = (
                *calls_of_hooks(parsed, names, self._structs),
                *calls_by_macro(parsed, names, macros, self._structs),
            )
            called = [
                call
                for call in calls
                if not call.struct or (call.struct, call.member) in self._found.members
            ]
            self._found.callers += called
            self._found.functions.add(parsed, called)

    def _take_hooks(self) -> None:
        found = self._found
        sites = Sites(found.members, found.macros, self._structs, found.functions)
        for parsed in self._files.values():
            found.hooks += sites.hooks(parsed)
        found.unread += sites.unread
        for name, content in self._text.having([b"mmap"], self._names(".rs")):
            found.hooks += rust_hooks(name, content, found.members)


def _stem(name: str) -> bytes:
    """Return the first two words of a macro: macros of a family have them in common."""
    return "_".join(name.strip("_").removeprefix("DEFINE_").split("_")[:2]).encode()


def _interesting(content: bytes, uses: re.Pattern[bytes] | None) -> bool:
    if _TAKES_VMA.search(content) or any(
        word.use is not Use.ARGUMENT for word in member_words(content)
    ):
        return True
    return uses is not None and uses.search(content) is not None
