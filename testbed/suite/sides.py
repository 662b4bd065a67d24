# SPDX-License-Identifier: GPL-2.0
"""Two sides of a comparison, run or read, and its files: `testbed compare`."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

from testbed.context import Context
from testbed.kernel.revision import at_base
from testbed.kernel.series import Series, load_series
from testbed.lab.lab import Lab
from testbed.report.diff import Side
from testbed.results.store import RESULT_FILE, read_facts, read_run
from testbed.settings import Settings
from testbed.suite.runner import run_suite


def recorded_side(wanted: str) -> Side | None:
    """The side whose run is in that folder; None when it is no folder of a run.

    Raises:
        SetupError: the run cannot be read.
    """
    folder = Path(wanted).expanduser()
    if not (folder / RESULT_FILE).exists():
        return None
    return Side(wanted, read_run(folder), read_facts(folder))


def side_settings(settings: Settings, wanted: str, results: Path) -> tuple[Settings, Series]:
    """What `KERNEL`, `KERNEL+SERIES` or `+SERIES` means; without a kernel it is the settings'.

    Raises:
        SetupError: there is no such series.
    """
    kernel, _, patches = wanted.partition("+")
    kernel = kernel or settings.kernel
    series = load_series(patches, kernel)
    kernel = at_base(kernel, series.base)
    own = dataclasses.replace(settings, kernel=kernel, series=patches, results_dir=results)
    return own, series


def run_side(name: str, ctx: Context, series: Series, expression: str | None) -> Side:
    """Run the tests on a side. A kernel that does not build is one on which none runs.

    Raises:
        SetupError: no test matches, or the host lacks something.
        InfraError: the host failed.
    """
    with closing(Lab(ctx, series)) as lab:
        return Side(name, run_suite(lab, expression), read_facts(lab.run_dir))
