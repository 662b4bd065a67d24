# SPDX-License-Identifier: GPL-2.0
"""The shipped pairs of conversions: each names its fault, and a recipe that exists."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from conversion_pairs import FOLDER, PAIRS, Pair

from testbed.intree.recipe import load_recipes
from testbed.kernel.series import Series

# Lines of a hook's member: an initialiser that is taken away or comes.
_MEMBER = re.compile(r"\s*\.(?:map_)?mmap(_prepare)?\s*=")

LEAST_FAULTS = 6


def members(pair: Pair, side: str) -> tuple[Counter[str], Counter[str]]:
    """Return the members whose initialisers a patch takes away, and those that it adds."""
    (patch,) = Series.of(pair.patch(side)).patches
    lines = [line for diff in patch.diffs for hunk in diff.hunks for line in hunk.lines]
    found = {"-": Counter[str](), "+": Counter[str]()}
    for line in lines:
        if line[0] in found and (match := _MEMBER.match(line[1:])):
            found[line[0]]["mmap_prepare" if match[1] else "mmap"] += 1
    return found["-"], found["+"]


def test_every_patch_belongs_to_a_pair() -> None:
    named = {pair.patch(side).name for pair in PAIRS for side in ("right", "wrong")}
    assert {file.name for file in FOLDER.glob("*.patch")} == named


def test_the_faults_are_of_many_kinds() -> None:
    assert len({pair.fault for pair in PAIRS}) >= LEAST_FAULTS


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_pair_names_a_recipe_that_has_its_architectures(pair: Pair) -> None:
    assert set(pair.arches) <= set(load_recipes()[pair.recipe].arches)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_right_patch_converts_or_reverts(pair: Pair) -> None:
    gone, come = members(pair, "right")
    assert sum(gone.values()) == sum(come.values()) > 0
    assert set(gone) != set(come)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_wrong_patch_is_the_right_one_with_a_fault(pair: Pair) -> None:
    right, wrong = (Series.of(pair.patch(side)) for side in ("right", "wrong"))
    assert set(wrong.files) <= set(right.files)
    assert right.identity != wrong.identity
