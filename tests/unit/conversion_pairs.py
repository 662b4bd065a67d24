# SPDX-License-Identifier: GPL-2.0
"""The shipped pairs of conversions, as `tests/vm/conversions/pairs.toml` lists them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from testbed.arch import ARCHES
from testbed.kernel.series import Series
from testbed.settings import CHECKOUT

FOLDER = CHECKOUT / "tests/vm/conversions"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One conversion, right and wrong."""

    name: str
    recipe: str  # the driver that shows the difference
    fault: str  # of the wrong one
    arches: tuple[str, ...] = tuple(ARCHES)
    found: str = "trials"  # what finds the fault: trials, or findings in the text alone

    def __str__(self) -> str:
        return self.name

    def patch(self, side: str) -> Path:
        """Return the patch of a side, right or wrong."""
        return FOLDER / f"{self.name}-{side}.patch"

    @cached_property
    def files(self) -> frozenset[str]:
        """The kernel's files that its patches touch."""
        return frozenset(
            file for side in ("right", "wrong") for file in Series.of(self.patch(side)).files
        )

    def seen(self, report: Mapping[str, Any]) -> tuple[set[str], set[str]]:
        """Return what a report of `testbed check --series --json` shows of this pair.

        These are the verdicts on the hooks that its recipe reaches, and the places of errors in
        its files' text.
        """
        verdicts = {hook["verdict"] for hook in report["hooks"] if self.recipe in hook["recipes"]}
        errors = {each["place"] for each in report["findings"] if each["grade"] == "error"}
        return verdicts, {place for place in errors if place.partition(":")[0] in self.files}


def _pairs() -> tuple[Pair, ...]:
    listed = tomllib.loads((FOLDER / "pairs.toml").read_text())
    return tuple(
        Pair(name=name, **{**values, "arches": tuple(values.get("arches", ARCHES))})
        for name, values in listed.items()
    )


def _groups() -> tuple[tuple[Pair, ...], ...]:
    """Return all pairs in as few groups as the first fit gives, without a common file in any."""
    found: list[list[Pair]] = []
    for pair in PAIRS:
        fitting = (group for group in found if not any(pair.files & each.files for each in group))
        group = next(fitting, None)
        if group is None:
            found.append(group := [])
        group.append(pair)
    return tuple(map(tuple, found))


PAIRS = _pairs()
GROUPS = _groups()
