# SPDX-License-Identifier: GPL-2.0
"""Which recipes' chains a check has seen, and on which paths: from its check.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.check.chain import TRIAL
from testbed.check.result import TrialStatus
from testbed.errors import SetupError
from testbed.files import DAMAGED
from testbed.intree.reachable import Reachable
from testbed.mmap.path import HookPath


def reached_recipes(file: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the architectures on which a check has reached each driver, by recipe and path.

    A driver is reached directly if its chain of functions ran, and below a stack if a trial there
    held as well.

    Raises:
        SetupError: the file cannot be read, or is not that of a check.
    """
    try:
        return _by_recipe(_sides(json.loads(file.read_text())))
    except DAMAGED as exc:
        raise SetupError(f"{file} is not the result of a check: {exc!r}") from exc


def _sides(content: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield each driver on each architecture; of a conversion the newer kernel's."""
    for each in content:
        yield each.get("after", each)


def _by_recipe(sides: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for side in sides:
        outcomes = side["outcomes"]
        held = [each for each in outcomes if each["verdict"] == TrialStatus.HOLDS]
        if not any(each["trial"] == TRIAL for each in held):
            continue
        ways = found.setdefault(side["driver"].partition(" ")[0], {})
        for path in dict.fromkeys((HookPath.DIRECT.value, *(each["path"] for each in held))):
            ways.setdefault(path, set()).add(side["arch"])
    return {
        name: {path: tuple(sorted(arches)) for path, arches in ways.items()}
        for name, ways in found.items()
    }


def reached_hooks(
    hooks: Iterable[Reachable], recipes: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> dict[str, tuple[str, ...]]:
    """Return how a check has reached hooks, by their names in the tree."""
    found = {}
    for each in hooks:
        ways = tuple(
            f"{path} by recipe {name} ({', '.join(arches)})"
            for name in each.recipes
            for path, arches in recipes.get(name, {}).items()
        )
        if ways:
            found[each.hook.tree_name] = ways
    return found
