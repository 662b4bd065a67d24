# SPDX-License-Identifier: GPL-2.0
"""A run whose pages are written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from testbed.pages.unexpected import Failures
from testbed.results.model import Run


@dataclass(frozen=True)
class RunSite:
    """A run whose pages are written into its folder."""

    folder: Path
    run: Run

    @cached_property
    def failures(self) -> Failures:
        return Failures(self.run.cases)
