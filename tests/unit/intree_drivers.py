# SPDX-License-Identifier: GPL-2.0
"""Drivers of the kernel itself in checks, for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from testbed.check.checker import Checker
from testbed.check.checkplan import CheckPlan
from testbed.check.intreeloading import InTreeLoader
from testbed.check.recipeplan import recipe_plan
from testbed.check.result import Checked
from testbed.check.script import BaseMapping
from testbed.check.trials import trials_on
from testbed.image.disks import build_disk
from testbed.intree.recipe import Recipe
from testbed.kernel.driver import Driver
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import HookPath


def check_driver(
    recipe: Recipe,
    lab: Lab,
    prepared: PreparedKernel,
    *,
    paths: Sequence[HookPath] = (),
    trials: Sequence[str] = (),
) -> Checked:
    """Check a driver. Without `paths` or `trials`, on all of the recipe's paths, or in all."""
    plan = recipe_plan(recipe)
    if paths:
        plan = dataclasses.replace(plan, paths=tuple(paths))
    if trials:
        plan = dataclasses.replace(plan, skip=(*plan.skip, *_others(plan, trials), "fail-*"))
    disk = None if recipe.disk is None else build_disk(recipe.disk, lab.ctx).path
    loading = InTreeLoader(recipe, prepared.kernel, disk)
    arch = prepared.arch.name
    return Checker(lab, arch, Driver(()), recipe.name, recipe.shown, plan, loading=loading).run()


def _others(plan: CheckPlan, trials: Sequence[str]) -> set[str]:
    """Return the names of the trials that are not in `trials`."""
    bases = (BaseMapping(sharing, 8, 0, "rw") for sharing in plan.sharing)
    names = {each.name for base in bases for each in trials_on(base, plan)}
    return names - {f"{trial}-{sharing}" for trial in trials for sharing in plan.sharing}
