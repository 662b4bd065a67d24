# SPDX-License-Identifier: GPL-2.0
"""Conditions of the preprocessor: whether two of them exclude each other."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What must be true or false for a condition to hold: its value, and an expression.
_Fact = tuple[bool, str]

_WORD = re.compile(r"\w+(\([^()]*\))?")
_DEFINED = re.compile(r"defined\s*\(?\s*(\w+)\s*\)?")
_COMPARED = re.compile(r"(.+?)\s*(<=|>=|==|!=|<|>)\s*(.+)")
# A comparison is written as the negation of another one.
_OPPOSITE = {"<": ">=", ">": "<=", "!=": "=="}


def exclude(one: str, other: str) -> bool:
    """Whether two conditions exclude each other, as those of `#if` and its `#else`."""
    first, second = _facts(one), _facts(other)
    return _denied(first, second) or _denied(second, first)


def joined(conditions: Iterable[str]) -> str:
    """Return the condition that all of them hold."""
    terms = list(filter(None, conditions))
    if len(terms) == 1:
        return terms[0]
    return " && ".join(f"({term})" if "||" in term else term for term in terms)


def negated(condition: str) -> str:
    """Return the condition that another one does not hold."""
    if condition.startswith("!") and _WORD.fullmatch(condition[1:]):
        return condition[1:]
    return f"!{condition}" if _WORD.fullmatch(condition) else f"!({condition})"


def _denied(first: frozenset[_Fact], second: frozenset[_Fact]) -> bool:
    """Whether all that makes one of these facts untrue is among the others."""
    return any(_facts(text, not value) <= second for value, text in first)


def _facts(text: str, value: bool = True) -> frozenset[_Fact]:
    text = _bare(text)
    if not text:
        return frozenset()
    # `!(A || B)` is `!A && !B`.
    parts = _split(text, "&&" if value else "||")
    if len(parts) > 1:
        return frozenset().union(*(_facts(part, value) for part in parts))
    if text.startswith("!") and len(_split(text, "&&")) == len(_split(text, "||")) == 1:
        return _facts(text[1:], not value)
    return frozenset([_simple(text, value)])


def _simple(text: str, value: bool) -> _Fact:
    if found := _DEFINED.fullmatch(text):
        return value, found[1]
    compared = _COMPARED.fullmatch(text) if "||" not in text and "&&" not in text else None
    if compared is not None and compared[2] in _OPPOSITE:
        text, value = f"{compared[1]}{_OPPOSITE[compared[2]]}{compared[3]}", not value
    return value, "".join(text.split())


def _bare(text: str) -> str:
    """Return a text without the parentheses around it."""
    text = text.strip()
    while text.startswith("(") and _closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _closing(text: str) -> int:
    """Return the place at which the parenthesis is closed with which a text begins."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth:
            return place
    return -1


def _split(text: str, operator: str) -> list[str]:
    """Split a text at an operator that stands in no parentheses."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth and text.startswith(operator, place):
            parts.append(text[start:place])
            start = place + len(operator)
    return [*parts, text[start:]]
