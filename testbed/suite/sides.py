# SPDX-License-Identifier: GPL-2.0
"""The sides of a comparison, run now or read from a folder: `testbed compare`."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

from testbed.context import Context
from testbed.errors import SetupError
from testbed.files import user_path
from testbed.kernel.revision import at_base
from testbed.kernel.series import Series, load_series
from testbed.lab.lab import Lab
from testbed.report.diff import Side
from testbed.results.store import RESULT_FILE, read_facts, read_run
from testbed.settings import Settings
from testbed.suite.runner import run_suite


def recorded_side(wanted: str) -> Side | None:
    """Return the side whose run is in the folder `wanted`; None if no run is there.

    Raises:
        SetupError: the run is unreadable.
    """
    folder = user_path(wanted)
    if not (folder / RESULT_FILE).exists():
        return None
    return Side(wanted, read_run(folder), read_facts(folder))


def side_settings(settings: Settings, wanted: str, results: Path) -> tuple[Settings, Series]:
    """Return the settings and series for `KERNEL`, `KERNEL+SERIES` or `+SERIES`.

    `+SERIES` uses the kernel of `settings`.

    Raises:
        SetupError: neither is named, or the series does not exist.
    """
    kernel, _, patches = wanted.partition("+")
    if not kernel and not patches:
        raise SetupError(
            f"{wanted!r} names no kernel", hint="give KERNEL, KERNEL+SERIES or +SERIES"
        )
    kernel = kernel or settings.kernel
    series = load_series(patches, kernel)
    kernel = at_base(kernel, series.base)
    own = dataclasses.replace(settings, kernel=kernel, series=patches, results_dir=results)
    return own, series


def run_side(name: str, ctx: Context, series: Series, expression: str | None) -> Side:
    """Run the tests on a side. A kernel that does not build is not an error: no test runs on it.

    Raises:
        SetupError: no test matches, or the host lacks something.
        InfraError: the host failed.
    """
    with closing(Lab(ctx, series)) as lab:
        return Side(name, run_suite(lab, expression), read_facts(lab.run_dir))
