# SPDX-License-Identifier: GPL-2.0
"""C syntax, by tree-sitter: what stands around a place of a file, and what a function does.

Only the part of a file that holds a place is parsed. An error elsewhere in the file, such as a
macro that is no C by itself, thus spoils nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import tree_sitter_c
from tree_sitter import Language, Parser
from tree_sitter import Node as Node

from testbed.inventory.ctext import CText, plain

_PARSER = Parser(Language(tree_sitter_c.language()))

# `struct TYPE NAME = {` in front of an initialiser, where the parser finds no declaration.
_DECLARED = re.compile(rb"\bstruct\s+(\w+)\s+(\w+)[^;{}=]*=\s*\{")


@dataclass(frozen=True)
class Declared:
    """The object whose initialiser holds a place."""

    struct: str
    name: str  # empty: it has none, as a compound literal
    fields: tuple[str, ...] = ()  # designators between the object's initialiser and the place
    part: str = ""  # of several objects with this name: its function, its place in an array


@dataclass(frozen=True)
class Assigned:
    """An assignment to a member."""

    holder: Node  # the expression in front of the member
    function: Node | None  # the definition that it stands in


@dataclass(frozen=True)
class Place:
    """What a member at a place is given, and where it stands."""

    value: str
    at: Declared | Assigned


def parse(text: bytes) -> Node:
    """Return the root of a text's syntax tree."""
    return _PARSER.parse(text).root_node


class Parsed:
    """One file, whose parts are parsed when they are looked at."""

    def __init__(self, text: CText) -> None:
        self.text = text
        self._roots: dict[tuple[int, int], Node] = {}

    def member(self, start: int, end: int) -> Place | None:
        """Return what is given to the member whose name stands at a place; None if unclear."""
        node = self.node(start, end)
        parent = node.parent if node is not None else None
        if parent is None:
            return None
        if parent.type == "field_designator" and parent.parent is not None:
            pair = parent.parent
            value = pair.child_by_field_name("value")
            declared = self.declared(start, end)
            if pair.type == "initializer_pair" and value is not None and declared is not None:
                return Place(_text(value), declared)
        if parent.type == "field_expression" and parent.parent is not None:
            return _assigned(parent, parent.parent)
        return None

    def declared(self, start: int, end: int) -> Declared | None:
        """Return the object whose initialiser holds a place."""
        node = self.node(start, end)
        fields: list[str] = []
        places: list[str] = []
        while node is not None:
            if node.type == "initializer_pair":
                names = [_text(child)[1:] for child in node.children_by_field_name("designator")]
                fields += [name for name in reversed(names) if name.isidentifier()]
            places.append(_place_in_array(node))
            if found := _object(node, tuple(reversed(fields[1:]))):
                name = function_name(function_of(node))
                part = "".join((f"@{name}" if name else "", *reversed(places)))
                return replace(found, part=part)
            node = node.parent
        return self._declared_by_text(start)

    def given_to(self, start: int, end: int) -> Declared | Assigned | None:
        """Return what is given the address that stands at a place, with the member as last field.

        For an assignment, the holder is the whole expression on its left.
        """
        node = self.node(start, end)
        while node is not None and node.type in ("identifier", "pointer_expression"):
            node = node.parent
        if node is None:
            return None
        if node.type == "initializer_pair":
            names = [text_of(child)[1:] for child in node.children_by_field_name("designator")]
            outer = self.declared(start, end)
            if outer is None:
                return None
            return Declared(outer.struct, outer.name, (*outer.fields, *names[-1:]))
        left = node.child_by_field_name("left") if node.type == "assignment_expression" else None
        if left is not None and left.type == "field_expression":
            return Assigned(left, function_of(node))
        return None

    def _declared_by_text(self, start: int) -> Declared | None:
        begin, _ = self.text.item(start)
        found = list(_DECLARED.finditer(self.text.text, begin, start))
        return Declared(found[-1][1].decode(), found[-1][2].decode()) if found else None

    def node(self, start: int, end: int) -> Node | None:
        """Return the smallest part of the syntax that covers a place."""
        first, last = self.text.item(start)
        return self._root(first, last).named_descendant_for_byte_range(start - first, end - first)

    def _root(self, first: int, last: int) -> Node:
        key = first, last
        if key not in self._roots:
            self._roots[key] = parse(self.text.text[first:last])
        return self._roots[key]


def _place_in_array(node: Node) -> str:
    """Return `[PLACE]` for an element of an array, by its designator or its number."""
    if node.type == "initializer_pair":
        names = (_text(child) for child in node.children_by_field_name("designator"))
        return "".join(name for name in names if name.startswith("["))
    outer = node.parent
    if node.type == "initializer_list" and outer is not None and outer.type == node.type:
        return f"[{outer.named_children.index(node)}]"
    return ""


def _object(node: Node, fields: tuple[str, ...]) -> Declared | None:
    if node.type == "init_declarator" and node.parent is not None:
        struct = struct_name(node.parent.child_by_field_name("type"))
        name = declared_name(node.child_by_field_name("declarator"))
        return Declared(struct, name, fields) if struct else None
    if node.type == "compound_literal_expression":
        kind = node.child_by_field_name("type")
        struct = struct_name(kind.child_by_field_name("type") if kind else None)
        return Declared(struct, _assigned_to(node), fields) if struct else None
    return None


def _assigned_to(node: Node) -> str:
    """Return what a compound literal initialises: an object, or the target of an assignment."""
    parent = node.parent
    while parent is not None and parent.type in ("pointer_expression", "parenthesized_expression"):
        parent = parent.parent
    if parent is None:
        return ""
    if parent.type == "init_declarator":
        return declared_name(parent.child_by_field_name("declarator"))
    left = parent.child_by_field_name("left")
    return _text(left).lstrip("*") if left is not None else ""


def struct_name(node: Node | None) -> str:
    if node is None or node.type != "struct_specifier":
        return ""
    name = node.child_by_field_name("name")
    return _text(name) if name is not None else ""


def declared_name(node: Node | None) -> str:
    while node is not None and node.type != "identifier":
        node = node.child_by_field_name("declarator")
    return _text(node) if node is not None else ""


def _assigned(target: Node, parent: Node) -> Place | None:
    if parent.type != "assignment_expression" or parent.child_by_field_name("left") != target:
        return None
    value, holder = parent.child_by_field_name("right"), target.child_by_field_name("argument")
    if value is None or holder is None:
        return None
    return Place(_text(value), Assigned(holder, function_of(parent)))


def called_member(node: Node | None) -> Node | None:
    """Return the expression `HOLDER->MEMBER` that is called, given the node of the member."""
    target = node.parent if node is not None else None
    call = target.parent if target is not None else None
    # `(*HOLDER->MEMBER)(...)` is the same call.
    while call is not None and call.type in ("parenthesized_expression", "pointer_expression"):
        call = call.parent
    if target is None or call is None or target.type != "field_expression":
        return None
    return target if call.type == "call_expression" else None


def called_name(node: Node | None) -> str:
    """Return `FUNCTION()` for an argument of a call; empty for another node."""
    while node is not None and node.type in ("identifier", "pointer_expression"):
        node = node.parent
    call = node.parent if node is not None and node.type == "argument_list" else None
    name = text_of(call.child_by_field_name("function")) if call is not None else ""
    return f"{name}()" if name.isidentifier() else ""


def function_of(node: Node | None) -> Node | None:
    """Return the definition of a function that holds a node."""
    while node is not None and node.type != "function_definition":
        node = node.parent
    return node


def function_name(node: Node | None) -> str:
    """Return the name of a defined function; empty without one."""
    return declared_name(node.child_by_field_name("declarator")) if node is not None else ""


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(node.named_children)


def text_of(node: Node | None) -> str:
    """Return the text of a node on one line; empty without one."""
    return _text(node) if node is not None else ""


def _text(node: Node) -> str:
    return plain(node.text or b"")
