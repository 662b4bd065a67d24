# SPDX-License-Identifier: GPL-2.0
"""The values of a TOML file, checked: each function returns a value, or says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_PROT_LETTERS = frozenset("rwx")

SHARING = ("shared", "private")


class WrongValue(Exception):
    """A value that cannot be used. The text says why."""


def exactly(kind: type, value: Any) -> Any:
    """Return a value of one type."""
    if type(value) is not kind:
        raise WrongValue(f"{value!r} is not a {kind.__name__}")
    return value


def at_least(least: int, value: Any) -> int:
    """Return a number from `least` on."""
    number = int(exactly(int, value))
    if number < least:
        raise WrongValue(f"{number} is less than {least}")
    return number


def list_of(kind: type, value: Any) -> tuple[Any, ...]:
    """Return a list whose items have one type."""
    if not isinstance(value, list) or not all(type(each) is kind for each in value):
        raise WrongValue(f"{value!r} is not a list of {kind.__name__}")
    return tuple(value)


def filled(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a list that is not empty."""
    if not value:
        raise WrongValue("an empty list leaves nothing to try")
    return value


def chosen(choices: Sequence[str], value: Any) -> tuple[str, ...]:
    """Return a list of words, each of which is one of `choices`."""
    words = filled(list_of(str, value))
    for each in words:
        if each not in choices:
            raise WrongValue(f"{each!r} is not one of {', '.join(choices)}")
    return words


def texts(what: str, value: Any) -> dict[str, str]:
    """Return a table of texts. `what` says of what, for messages."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise WrongValue(f"{value!r} is not a table of {what}")
    return value


def sizes(value: Any) -> tuple[int, ...]:
    """Return a list of sizes in pages, or in units."""
    found = filled(list_of(int, value))
    if min(found) < 1:
        raise WrongValue(f"a size must be 1 page or more, not {min(found)}")
    return found


def offsets(value: Any) -> tuple[int, ...]:
    """Return a list of offsets in pages, or in units."""
    found = filled(list_of(int, value))
    if min(found) < 0:
        raise WrongValue(f"an offset must be 0 pages or more, not {min(found)}")
    return found


def prots(value: Any) -> tuple[str, ...]:
    """Return a list of protections: letters of rwx, or none."""
    found = filled(list_of(str, value))
    for prot in found:
        if prot != "none" and (not prot or set(prot) - _PROT_LETTERS):
            raise WrongValue(f"{prot!r} is not a protection: combine r, w and x, or give none")
    return found
