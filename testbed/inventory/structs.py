# SPDX-License-Identifier: GPL-2.0
"""The structs of a tree: which members are mmap hooks, and which struct an expression points to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from testbed.inventory.csyntax import (
    Node,
    Parsed,
    declared_name,
    function_of,
    parse,
    struct_name,
    text_of,
    walk,
)
from testbed.inventory.ctext import CText, read_c
from testbed.inventory.words import Use, member_words

_DEFINED = re.compile(rb"\nstruct (\w+)\s*(?:__\w+\s*)*\{")

# The parameters of a member that points to a function, behind its name.
_PARAMETERS = re.compile(rb"\s*\)\s*\(([^;{}]*?)\)\s*;")
_UNCONVERTED = re.compile(rb"\bstruct\s+vm_area_struct\b")
_CONVERTED = re.compile(rb"\bstruct\s+vm_area_desc\b")

# The members through which an expression leads to a struct, however it begins.
_WELL_KNOWN = {"f_op": "file_operations", "i_fop": "file_operations", "vm_file": "file"}


# Macros and functions that only read what they are given.
_READS = frozenset({"READ_ONCE", "rcu_dereference", "smp_load_acquire", "rcu_access_pointer"})


@dataclass(frozen=True, order=True)
class Member:
    """A member of a struct that holds an mmap hook."""

    struct: str
    name: str
    converted: bool  # the hook gets a vm_area_desc
    file: str = ""
    line: int = 0


def hook_members(parsed: Parsed) -> Iterator[Member]:
    """Yield the members of a file's structs that point to a function which gets a VMA."""
    text = parsed.text
    for word in member_words(text.text):
        match = _PARAMETERS.match(text.text, word.end) if word.use is Use.POINTER else None
        if match is None:
            continue
        converted = _CONVERTED.search(match[1]) is not None
        if not converted and not _UNCONVERTED.search(match[1]):
            continue
        node = parsed.node(word.start, word.end)
        while node is not None and not (node.type == "struct_specifier" and struct_name(node)):
            node = node.parent if node.type not in ("parameter_list",) else None
        if node is not None:
            line = text.line(word.start)
            yield Member(struct_name(node), word.name, converted, text.file, line)


@dataclass
class Structs:
    """Where structs are defined, and the types of their members, read when asked for."""

    read: Callable[[str], bytes]
    _files: dict[str, list[str]] = field(default_factory=dict)  # by struct
    _members: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    _texts: dict[str, CText] = field(default_factory=dict)

    def note(self, file: str, content: bytes) -> None:
        """Note the structs that a file defines."""
        for match in _DEFINED.finditer(content):
            self._files.setdefault(match[1].decode(), []).append(file)

    def pointed(self, node: Node | None, file: str) -> str:
        """Return the struct that an expression is, or points to; empty if that is not clear."""
        if node is None:
            return ""
        if node.type == "field_expression":
            name = text_of(node.child_by_field_name("field"))
            holder = self.pointed(node.child_by_field_name("argument"), file)
            return self.member(holder, name, file) or _WELL_KNOWN.get(name, "")
        if node.type == "identifier":
            return _declared_type(node) or self._of_file(text_of(node), file)
        if (
            node.type == "call_expression"
            and text_of(node.child_by_field_name("function")) in _READS
        ):
            arguments = node.child_by_field_name("arguments")
            return (
                self.pointed(next(iter(arguments.named_children), None), file) if arguments else ""
            )
        if node.type == "cast_expression":
            kind = node.child_by_field_name("type")
            return struct_name(kind.child_by_field_name("type") if kind is not None else None)
        inner = node.child_by_field_name("argument") or next(iter(node.named_children), None)
        if node.type in ("parenthesized_expression", "pointer_expression", "subscript_expression"):
            return self.pointed(inner, file)
        return ""

    def _of_file(self, name: str, file: str) -> str:
        """Return the struct of a variable that a file declares outside its functions."""
        pattern = (
            rf"^(?:static |extern |const )*struct (\w+)\s+(?:const\s+)?\**\s*{re.escape(name)}\b"
        )
        found = re.search(pattern.encode(), self._text(file).text, re.MULTILINE)
        return found[1].decode() if found else ""

    def follow(self, struct: str, names: tuple[str, ...], file: str) -> str:
        """Return the struct that a chain of members leads to."""
        for name in names:
            struct = self.member(struct, name, file)
        return struct

    def member(self, struct: str, name: str, near: str) -> str:
        """Return the struct that a member is, or points to; empty for another type."""
        for file in self._defining(struct, near):
            if (found := self._members_of(struct, file).get(name)) is not None:
                return found
        return ""

    def has(self, struct: str, name: str, near: str) -> bool:
        """Whether a struct is known to have such a member."""
        return any(name in self._members_of(struct, file) for file in self._defining(struct, near))

    def _defining(self, struct: str, near: str) -> list[str]:
        """Return the files that define a struct, the nearest first."""
        folder = str(PurePosixPath(near).parent)
        files = self._files.get(struct, [])
        return sorted(files, key=lambda file: (file != near, not file.startswith(f"{folder}/")))

    def _members_of(self, struct: str, file: str) -> dict[str, str]:
        key = struct, file
        if key not in self._members:
            self._members[key] = dict(_members(self._text(file), struct))
        return self._members[key]

    def _text(self, file: str) -> CText:
        if file not in self._texts:
            self._texts[file] = read_c(file, self.read(file))
        return self._texts[file]


def _members(text: CText, struct: str) -> Iterator[tuple[str, str]]:
    match = re.search(rb"^struct %s\s*\{" % struct.encode(), text.text, re.MULTILINE)
    if match is None:
        return
    root = parse(text.text[match.start() : text.item(match.start())[1]])
    for node in walk(root):
        if node.type == "field_declaration":
            # The members of an unnamed struct or union are found in the struct around it.
            kind = struct_name(node.child_by_field_name("type")) or (
                struct if _unnamed(node.child_by_field_name("type")) else ""
            )
            for declarator in node.children_by_field_name("declarator"):
                yield _field_name(declarator), kind


def _unnamed(node: Node | None) -> bool:
    kinds = ("struct_specifier", "union_specifier")
    return node is not None and node.type in kinds and node.child_by_field_name("name") is None


def _field_name(node: Node | None) -> str:
    while node is not None and node.type != "field_identifier":
        inner = node.child_by_field_name("declarator")
        node = inner if inner is not None else next(iter(node.named_children), None)
    return text_of(node)


def _declared_type(node: Node) -> str:
    """Return the struct of a variable or parameter by its declaration in the function."""
    name = text_of(node)
    function = function_of(node)
    if function is None:
        return ""
    for each in walk(function):
        if each.type in ("parameter_declaration", "declaration"):
            for declarator in each.children_by_field_name("declarator"):
                if declared_name(declarator) == name:
                    return struct_name(each.child_by_field_name("type"))
    return ""
