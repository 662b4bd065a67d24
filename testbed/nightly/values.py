# SPDX-License-Identifier: GPL-2.0
"""Converters for the values of a matrix. Each raises TypeError or ValueError with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from testbed.errors import SetupError

_YEAR = 24 * 365  # hours

# No number of a matrix is as large; a database cannot keep larger ones.
_LARGEST = (1 << 63) - 1

Converter = Callable[[Any], Any]


def convert(values: Mapping[str, Any], keys: Mapping[str, Converter], where: str) -> dict[str, Any]:
    """Convert the values of a table, each as `keys` says.

    Raises:
        SetupError: a value is invalid. It names the place, `where`.
    """
    found = {}
    for key, value in values.items():
        try:
            found[key] = keys[key](value)
        except (TypeError, ValueError) as exc:
            raise SetupError(f"{where}: {key} = {value!r} is invalid: {exc}") from exc
    return found


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("it must be a string")
    if not value.isprintable():
        raise ValueError("it has a character that cannot be printed")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Convert one string, or a list of them."""
    if not isinstance(value, str | list):
        raise TypeError("it must be a string, or a list of strings")
    found = tuple(map(text, [value] if isinstance(value, str) else value))
    if not found:
        raise ValueError("the list is empty")
    return tuple(dict.fromkeys(found))


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("it must be a number")
    return float(value)


def count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("it must be a whole number, 0 or more")
    if value > _LARGEST:
        raise ValueError(f"it must be at most {_LARGEST}")
    return value


def some(value: Any) -> int:
    if count(value) < 1:
        raise ValueError("it must be 1 or more")
    return count(value)


def hours(value: Any) -> float:
    if not 0 < number(value) <= _YEAR:
        raise ValueError(f"it must be above 0, and at most {_YEAR}")
    return number(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it must be true or false")
    return value
