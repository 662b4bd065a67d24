# SPDX-License-Identifier: GPL-2.0
"""Conversions of the kernel's hooks: right ones show no difference, and each wrong one is found.

Pairs whose patches have no file in common share two kernels, one with all the right patches and
one with all the wrong ones: a kernel takes longer than the trials of ten drivers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conversion_pairs import GROUPS, PAIRS, Pair

from testbed.check.drivers import require, source_tree
from testbed.errors import SetupError
from testbed.intree.recipe import load_recipes
from testbed.kernel.fit import Fit, examine
from testbed.kernel.series import Series
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.process import run

Command = Callable[..., list[str]]

# The reports of the groups that were checked, by architecture, side and group.
Reports = dict[tuple[str, str, tuple[Pair, ...]], dict[str, Any]]


@pytest.fixture(scope="module")
def reports() -> Reports:
    return {}


def _able(pair: Pair, lab: Lab, prepared: PreparedKernel) -> bool:
    """Whether the kernel under test has the driver of a pair."""
    tree = partial(source_tree, prepared.source, lab.ctx)
    try:
        require(load_recipes()[pair.recipe], prepared.arch, prepared.kernel, tree)
    except SetupError:
        return False
    return prepared.arch.name in pair.arches


def _check(group: tuple[Pair, ...], side: str, command: Command, folder: Path) -> dict[str, Any]:
    """Return the report on the patches of a group."""
    folder.mkdir()
    for pair in group:
        (folder / pair.patch(side).name).write_bytes(pair.patch(side).read_bytes())
    done = run(command("check", "--series", str(folder), "--json"), ok=(0, 1, 3))
    return {"status": done.status, **json.loads(done.stdout)}


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_patches_apply(lab: Lab, prepared: PreparedKernel, pair: Pair) -> None:
    tree = source_tree(prepared.source, lab.ctx)
    for side in ("right", "wrong"):
        (found,) = examine(Series.of(pair.patch(side)), tree)
        assert found.fit in (Fit.APPLIES, Fit.OFFSET), found


@pytest.mark.parametrize("side", ["right", "wrong"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_wrong_conversion_is_found_and_a_right_one_is_not_accused(
    command: Command,
    lab: Lab,
    prepared: PreparedKernel,
    tmp_path: Path,
    reports: Reports,
    pair: Pair,
    side: str,
) -> None:
    if not _able(pair, lab, prepared):
        pytest.skip(f"{prepared.kernel.release} on {prepared.arch} has no {pair.recipe}")
    (group,) = (each for each in GROUPS if pair in each)
    able = tuple(each for each in group if _able(each, lab, prepared))
    key = (prepared.arch.name, side, able)
    if key not in reports:
        reports[key] = _check(able, side, command, tmp_path / "patches")
    verdicts, places = pair.seen(reports[key])
    if side == "right":
        assert (verdicts, places) == ({"same"}, set())
    elif pair.found == "trials":
        assert "different" in verdicts
    else:
        assert places
