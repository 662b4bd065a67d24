# SPDX-License-Identifier: GPL-2.0
"""Why hooks of the kernel are not reached by tests, or only directly.

Some cannot be reached (unreached.toml), and for some there is a recipe, which tests do not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from testbed.intree.recipe import load_recipes
from testbed.tomlfile import read_toml

REASONS = Path(__file__).with_name("unreached.toml")


@cache
def unreached() -> Mapping[str, str]:
    """Return the reasons by the names of hooks, FILE:OBJECT."""
    groups = read_toml(REASONS, "list of hooks that are not reached", ("reason",))["reason"]
    return {hook: group["why"] for group in groups for hook in group["hooks"]}


@cache
def by_recipes() -> Mapping[str, str]:
    """Return the names of recipes by the names of the hooks that they alone reach."""
    return {recipe.hook: recipe.name for recipe in load_recipes().values() if recipe.hook}
