# SPDX-License-Identifier: GPL-2.0
"""Kernel configuration as values: parse fragments, merge them, and compare them with a .config.

These are pure functions over text. The module `configure` runs the kernel's own tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testbed.errors import ConfigError

_SET = re.compile(r"CONFIG_(?P<name>\w+)=(?P<value>.+)")
_UNSET = re.compile(r"# CONFIG_(?P<name>\w+) is not set")


@dataclass(frozen=True)
class Asked:
    """One symbol with the value that a fragment requests."""

    name: str  # without CONFIG_
    value: str  # y, m, n, a number, or a string in its quotes
    origin: str  # FILE:LINE
    optional: bool = False  # a kernel that lacks it is built without

    def __str__(self) -> str:
        return f"CONFIG_{self.name}={self.value} ({self.origin})"


def parse_fragment(text: str, file: str, *, optional: bool = False) -> list[Asked]:
    """Return the symbols that a fragment requests, in its order.

    Raises:
        ConfigError: a line is neither a symbol nor a comment.
    """
    asked = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        origin = f"{file}:{number}"
        if match := _SET.fullmatch(line):
            asked.append(Asked(match["name"], match["value"], origin, optional))
        elif match := _UNSET.fullmatch(line):
            asked.append(Asked(match["name"], "n", origin, optional))
        elif line and not line.startswith("#"):
            raise ConfigError(
                f"{origin}: not a configuration line: {line!r}",
                hint="write CONFIG_NAME=value, or `# CONFIG_NAME is not set`",
            )
    return asked


def merge_fragments(fragments: Iterable[list[Asked]]) -> dict[str, Asked]:
    """Return the symbols that the fragments of one rank request, by name.

    Raises:
        ConfigError: the fragments request two values of one symbol. It names both places.
    """
    merged: dict[str, Asked] = {}
    clashes = []
    for asked in (asked for fragment in fragments for asked in fragment):
        first = merged.setdefault(asked.name, asked)
        if first.value != asked.value:
            clashes.append(f"{first} and {asked}")
    if clashes:
        raise ConfigError(
            "fragments contradict each other: " + "; ".join(clashes),
            hint="request one value",
        )
    return merged


def fragment_text(asked: Mapping[str, Asked]) -> str:
    """Return one fragment with all requests. Equal requests give equal text."""
    return "".join(_line(asked[name]) for name in sorted(asked))


def _line(asked: Asked) -> str:
    if asked.value == "n":
        return f"# CONFIG_{asked.name} is not set\n"
    return f"CONFIG_{asked.name}={asked.value}\n"


def parse_config(text: str) -> dict[str, str]:
    """Return the symbols that a .config sets. A symbol that is off is absent."""
    matches = (_SET.fullmatch(line) for line in text.splitlines())
    return {match["name"]: match["value"] for match in matches if match}


def canonical(values: Mapping[str, str]) -> str:
    """Return a text that ignores order and comments: it is equal for equal configurations."""
    return "\n".join(f"{name}={values[name]}" for name in sorted(values))


def lost(asked: Iterable[Asked], final: Mapping[str, str]) -> list[Asked]:
    """Return the requests that the final configuration does not satisfy."""
    return [ask for ask in asked if final.get(ask.name, "n") != ask.value]
