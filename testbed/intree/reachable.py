# SPDX-License-Identifier: GPL-2.0
"""Which hooks of a kernel the recipes can reach, and why others cannot be reached. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from testbed.intree.recipe import Recipe
from testbed.inventory.hook import Hook

# The hooks of files, to which all that is converted belongs or is nested in.
_FILES = "file_operations"


@dataclass(frozen=True)
class Reachable:
    """How a guest can reach one hook."""

    hook: Hook
    recipes: tuple[str, ...] = ()  # which open its own file
    alike: tuple[str, ...] = ()  # which run its function, for a file of another driver
    why_not: str = ""

    @property
    def words(self) -> str:
        """How, or why not, for people; empty if nothing is known."""
        if self.recipes:
            return f"recipe {', '.join(self.recipes)}"
        if self.alike:
            return f"its function by recipe {', '.join(self.alike)}"
        return f"not by a recipe: {self.why_not}" if self.why_not else ""


def reachable(
    hooks: Iterable[Hook], recipes: Iterable[Recipe], reasons: Mapping[str, str]
) -> list[Reachable]:
    """Return how each hook can be reached, in the order of the hooks.

    Args:
        reasons: why hooks cannot be reached, by name.
    """
    every, known = list(hooks), list(recipes)
    users: dict[str, set[str]] = {}
    for hook in every:
        users.setdefault(hook.function, set()).add(hook.tree_name)
    return [
        _reachable(hook, known, reasons, alone=len(users[hook.function]) == 1) for hook in every
    ]


def _reachable(
    hook: Hook, recipes: list[Recipe], reasons: Mapping[str, str], *, alone: bool
) -> Reachable:
    own = tuple(recipe.name for recipe in recipes if recipe.hook == hook.tree_name)
    through = tuple(
        recipe.name for recipe in recipes if not recipe.hook and hook.function in recipe.chain
    )
    if own or (through and alone):
        return Reachable(hook, own or through)
    return Reachable(hook, alike=through, why_not=reasons.get(hook.tree_name, ""))


@dataclass
class Counts:
    """How many hooks of files can be reached by the files of recipes."""

    hooks: int = 0
    own: int = 0
    alike: int = 0

    def add(self, each: Reachable) -> None:
        self.hooks += 1
        self.own += bool(each.recipes)
        self.alike += bool(each.alike)


def reachable_lines(found: Iterable[Reachable]) -> Iterator[str]:
    """Yield the numbers for people: converted hooks of files, and all others."""
    counts = {True: Counts(), False: Counts()}
    for each in found:
        if not each.hook.null:
            counts[each.hook.converted and each.hook.struct == _FILES].add(each)
    for converted, count in counts.items():
        kind = "converted hooks of files" if converted else "other hooks"
        yield (
            f"{kind}: {count.own} of {count.hooks} can be reached by a recipe, "
            f"and the function of {count.alike} more"
        )
