# SPDX-License-Identifier: GPL-2.0
"""Single-point mutations of a C text, as its syntax has them. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from testbed.inventory.csyntax import Node, parse

_NUMBERS = "0123456789abcdefx"


class Slip(StrEnum):
    """What a person does wrong."""

    NEGATED = "condition negated"
    DROPPED = "call dropped"
    OFF_BY_ONE = "constant by one"
    SWAPPED = "field swapped for one of its type"
    UNCHECKED = "error path dropped"
    REORDERED = "order of two statements"


@dataclass(frozen=True)
class Point:
    """A place of a text, and what stands there in the mutant. Lines keep their numbers."""

    slip: Slip
    function: str
    line: int
    start: int  # bytes
    end: int
    text: bytes

    def applied(self, text: bytes) -> bytes:
        """Return the mutant's text."""
        return text[: self.start] + self.text + text[self.end :]

    @property
    def name(self) -> str:
        """A name that is unique in a file, fit for that of a patch."""
        word = self.slip.name.lower().replace("_", "-")
        return f"{self.function}-{self.line}-{word}-{self.start}"


# The fields of the structures that have a field of that name, with types as they are written.
Fields = Mapping[str, frozenset[str]]


def fields_of(texts: Mapping[str, bytes]) -> dict[str, frozenset[str]]:
    """Return, for each field of the structures in some texts, the others of the same type."""
    alike: dict[str, set[str]] = {}
    for text in texts.values():
        for node in _walk(parse(text)):
            if node.type == "field_declaration_list":
                for group in _by_type(node).values():
                    for name in group:
                        alike.setdefault(name, set()).update(group - {name})
    return {name: frozenset(others) for name, others in alike.items() if others}


def _by_type(fields: Node) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for field in fields.named_children:
        kind = field.child_by_field_name("type")
        if kind is None:
            continue
        for declarator in field.children_by_field_name("declarator"):
            text = _text(declarator)
            if text.strip("* ").isidentifier():
                shape = f"{_text(kind)} {'*' * text.count('*')}"
                groups.setdefault(shape, set()).add(text.strip("* "))
    return groups


def points_of(text: bytes, fields: Fields) -> list[Point]:
    """Return all points of the functions of a text, in its order."""
    found: list[Point] = []
    for node in _walk(parse(text)):
        if node.type == "function_definition":
            body = node.child_by_field_name("body")
            declarator = node.child_by_field_name("declarator")
            if body is not None and declarator is not None:
                name = _text(declarator).partition("(")[0].strip("* \n\t")
                found += _in_function(name.split()[-1] if name else "unnamed", body, fields)
    return sorted(found, key=lambda point: (point.start, point.slip, point.text))


def _in_function(name: str, body: Node, fields: Fields) -> Iterator[Point]:
    for node in _walk(body):
        for slip, first, last, text in _slips(node, fields):
            start, end = first.start_byte, last.end_byte
            yield Point(slip, name, first.start_point[0] + 1, start, end, text)


_Change = tuple[Slip, Node, Node, bytes]


def _slips(node: Node, fields: Fields) -> Iterator[_Change]:
    finder = _NODES.get(node.type)
    if finder is not None:
        yield from finder(node, fields)


def _conditions(node: Node, fields: Fields) -> Iterator[_Change]:
    condition = node.child_by_field_name("condition")
    if condition is not None and condition.type == "parenthesized_expression":
        yield Slip.NEGATED, condition, condition, b"(!" + _raw(condition) + b")"
    if node.type == "if_statement" and _is_error_path(node):
        yield Slip.UNCHECKED, node, node, b";" + b"\n" * _raw(node).count(b"\n")


def _is_error_path(node: Node) -> bool:
    """Whether an `if` only leaves the function, or goes to its end."""
    then = node.child_by_field_name("consequence")
    if then is None or node.child_by_field_name("alternative") is not None:
        return False
    steps = then.named_children if then.type == "compound_statement" else [then]
    steps = [step for step in steps if step.type != "comment"]
    return bool(steps) and steps[-1].type in ("return_statement", "goto_statement")


def _statements(node: Node, fields: Fields) -> Iterator[_Change]:
    [*inner] = node.named_children
    if len(inner) == 1 and inner[0].type == "call_expression":
        yield Slip.DROPPED, node, node, b";" + b"\n" * _raw(node).count(b"\n")
    behind = node.next_named_sibling
    if behind is not None and behind.type == "expression_statement" and _raw(behind) != _raw(node):
        assert node.parent is not None
        first = node.parent.start_byte
        gap = _raw(node.parent)[node.end_byte - first : behind.start_byte - first]
        yield Slip.REORDERED, node, behind, _raw(behind) + gap + _raw(node)


def _constants(node: Node, fields: Fields) -> Iterator[_Change]:
    word = _text(node).lower()
    if word.rstrip("ul").strip(_NUMBERS) == "":
        yield Slip.OFF_BY_ONE, node, node, b"(" + _raw(node) + b" + 1)"


def _members(node: Node, fields: Fields) -> Iterator[_Change]:
    member = node.child_by_field_name("field")
    if member is not None:
        for other in sorted(fields.get(_text(member), ())):
            yield Slip.SWAPPED, member, member, other.encode()


_NODES = {
    "if_statement": _conditions,
    "while_statement": _conditions,
    "expression_statement": _statements,
    "number_literal": _constants,
    "field_expression": _members,
}


def _walk(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += reversed(each.named_children)


def _raw(node: Node) -> bytes:
    return node.text or b""


def _text(node: Node) -> str:
    return _raw(node).decode(errors="replace")
