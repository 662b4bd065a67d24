# SPDX-License-Identifier: GPL-2.0
"""The plan of a check of one of the kernel's own drivers, from its recipe."""

from __future__ import annotations

from testbed.check.checkplan import CheckPlan
from testbed.errors import SetupError
from testbed.intree.recipe import Recipe
from testbed.mmap.path import HookPath


def recipe_plan(
    recipe: Recipe, *, only_lower: bool = False, only: tuple[str, ...] = ()
) -> CheckPlan:
    """Return the plan of a recipe, in pages. With `only_lower`, without the direct path.

    `only` names the trials to perform, as patterns; empty: all.

    Raises:
        SetupError: no stack can have the driver's file as its lower file.
    """
    paths = recipe.stacks if only_lower else (HookPath.DIRECT, *recipe.stacks)
    if not paths:
        raise SetupError(f"--lower leaves no path: {recipe} suits no stack")
    default = CheckPlan()
    sizes = default.sizes if recipe.sizes is None else recipe.sizes
    offsets = default.offsets if recipe.offsets is None else recipe.offsets
    return CheckPlan(
        sizes=tuple(size * recipe.unit for size in sizes),
        offsets=tuple(recipe.base + offset * recipe.unit for offset in offsets),
        unit=recipe.unit,
        prots=recipe.prots or default.prots,
        sharing=recipe.sharing,
        paths=paths,
        not_below=recipe.not_below,
        skip=tuple(recipe.skip),
        only=only,
        memory=recipe.memory,
        volatile=tuple(recipe.base + page for page in recipe.volatile),
        counters=recipe.state,
        places=recipe.places,
        opener=opener_words(recipe),
        chain=recipe.watched,
        searches=recipe.sizes is None,
    )


def opener_words(recipe: Recipe) -> tuple[str, ...]:
    """Return the words of the opener in the language of the probe, without name and mode."""
    if not recipe.opener:
        return ()
    return (recipe.opener, *(f"{key}={value}" for key, value in recipe.options.items()))
