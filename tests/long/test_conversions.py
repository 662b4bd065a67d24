# SPDX-License-Identifier: GPL-2.0
"""Conversions of the kernel's hooks: right ones show no difference, and each wrong one is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conversion_pairs import PAIRS, Pair

from testbed.check.drivers import require, source_tree
from testbed.errors import SetupError
from testbed.intree.recipe import load_recipes
from testbed.kernel.fit import Fit, examine
from testbed.kernel.series import Series
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.process import run

Command = Callable[..., list[str]]


def _skip_without(pair: Pair, lab: Lab, prepared: PreparedKernel) -> None:
    """Skip a pair whose driver the kernel under test does not have."""
    if prepared.arch.name not in pair.arches:
        pytest.skip(f"{prepared.arch} has no such driver")
    tree = partial(source_tree, prepared.source, lab.ctx)
    try:
        require(load_recipes()[pair.recipe], prepared.arch, prepared.kernel, tree)
    except SetupError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_patches_apply(lab: Lab, prepared: PreparedKernel, pair: Pair) -> None:
    tree = source_tree(prepared.source, lab.ctx)
    for side in ("right", "wrong"):
        (found,) = examine(Series.of(pair.patch(side)), tree)
        assert found.fit in (Fit.APPLIES, Fit.OFFSET), found


@pytest.mark.parametrize(("side", "status"), [("right", 0), ("wrong", 1)])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_wrong_conversion_is_found_and_a_right_one_is_not_accused(
    command: Command,
    lab: Lab,
    prepared: PreparedKernel,
    tmp_path: Path,
    pair: Pair,
    side: str,
    status: int,
) -> None:
    _skip_without(pair, lab, prepared)
    done = run(command("check", "--series", str(pair.patch(side)), "--json"), ok=(0, 1, 3))
    assert done.status == status, done.stdout
    if pair.found == "trials":
        verdicts = {each["verdict"] for each in json.loads(done.stdout)["hooks"]}
        assert ("different" in verdicts) == (side == "wrong")
