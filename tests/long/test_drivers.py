# SPDX-License-Identifier: GPL-2.0
"""Every recipe: its chain is the one that runs, and its trials hold. Needs --flavour drivers."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
from driver_kinds import complaints
from intree_drivers import check_driver

from testbed.check.chain import SYMBOL
from testbed.check.drivers import require, source_tree
from testbed.check.result import TrialStatus
from testbed.errors import SetupError
from testbed.intree.recipe import Recipe, load_recipes
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import HookPath

KNOWN = load_recipes()

# Defects of the kernel that all trials of a driver show (docs/findings.md).
DEFECTS = {("comedi", "arm64"): "KD36"}


@pytest.fixture
def recipe(request: pytest.FixtureRequest, lab: Lab, prepared: PreparedKernel) -> Recipe:
    """The recipe of a name, if the kernel under test has the driver and its guest the machine."""
    found = KNOWN[request.param]
    if prepared.kernel.symbol(SYMBOL) != "y":
        pytest.skip("needs --flavour drivers")
    try:
        require(
            found, prepared.arch, prepared.kernel, partial(source_tree, prepared.source, lab.ctx)
        )
    except SetupError as error:
        pytest.skip(error.message)
    if found.qemu or found.cmdline:
        pytest.skip("`testbed check --driver all` gives it the machine that it asks for")
    return found


@pytest.mark.parametrize("recipe", KNOWN, indirect=True)
def test_a_chain_runs_and_all_trials_hold(
    request: pytest.FixtureRequest, lab: Lab, prepared: PreparedKernel, recipe: Recipe
) -> None:
    if defect := DEFECTS.get((recipe.name, prepared.arch.name)):
        request.applymarker(pytest.mark.xfail(reason=defect, strict=True))
    found = check_driver(recipe, lab, prepared)
    assert complaints(found) == []
    status = {each.trial: each.status for each in found.outcomes}
    assert status["chain"] is TrialStatus.HOLDS


@pytest.mark.parametrize("recipe", ["vivid-cap"], indirect=True)
def test_a_recipe_cannot_claim_a_hook_that_it_does_not_reach(
    lab: Lab, prepared: PreparedKernel, recipe: Recipe
) -> None:
    claims = dataclasses.replace(recipe, chain=("v4l2_mmap", "vb2_dc_mmap"))
    found = check_driver(claims, lab, prepared, paths=(HookPath.DIRECT,), trials=("exit",))
    assert "chain on direct: mmap() does not call vb2_dc_mmap by v4l2_mmap" in complaints(found)[0]
