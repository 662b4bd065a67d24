# SPDX-License-Identifier: GPL-2.0
"""The shipped pairs of conversions, as `tests/vm/conversions/pairs.toml` lists them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import ARCHES
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


def _pairs() -> tuple[Pair, ...]:
    listed = tomllib.loads((FOLDER / "pairs.toml").read_text())
    return tuple(
        Pair(name=name, **{**values, "arches": tuple(values.get("arches", ARCHES))})
        for name, values in listed.items()
    )


PAIRS = _pairs()
