# SPDX-License-Identifier: GPL-2.0
"""Converters for the values of a matrix. Each raises TypeError or ValueError with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from testbed.errors import SetupError

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
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Convert one string, or a list of them."""
    found = (value,) if isinstance(value, str) else tuple(map(text, value))
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
    return value


def hours(value: Any) -> float:
    if number(value) <= 0:
        raise ValueError("it must be above 0")
    return number(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it must be true or false")
    return value
