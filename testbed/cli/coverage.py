# SPDX-License-Identifier: GPL-2.0
"""`testbed coverage`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from testbed.check.trialnames import chosen_trials
from testbed.cli.invocation import opened
from testbed.cli.options import FiniteRange, expression_option, json_option, kernel_options
from testbed.coverage.counted import subject_of
from testbed.coverage.covering import Covered, Covering
from testbed.coverage.hunks import HunkRun
from testbed.coverage.hunktable import content_of, idle, lines_of
from testbed.coverage.ranby import write_coverage
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS
from testbed.results.store import kept_dir


@click.command()
@kernel_options
@json_option
@expression_option
@click.option(
    "--drivers/--no-drivers",
    default=True,
    help="Perform the trials of the drivers that the series touches, as far as the kernel has "
    "them. Default: yes.",
)
@click.option(
    "--trials",
    metavar="TRIAL[,TRIAL]",
    default="",
    help="Perform only these trials of the drivers, such as chain or mlock*. Default: all.",
)
@click.option(
    "--fuzz", "seconds", type=FiniteRange(0), default=60.0, metavar="N",
    help="Run generated programs for N seconds; 0: none. Default: 60.",
)  # fmt: skip
def coverage(
    expression: str | None, drivers: bool, trials: str, seconds: float, **options: Any
) -> None:
    """Show which lines of a series the tests run, and what runs them.

    It builds a kernel with counters (gcov) in the files that the series changes. On it run the
    tests, the trials of the drivers that the series touches, and generated programs.

    Exit status: 0 each hunk with code ran, 1 one never ran; 2, 3 and 130 as for `testbed run`.

    \b
    Examples:
      testbed coverage --series fixes/
      testbed coverage --series v7.3..topic --kernel tree:~/linux --arch x86_64 -k "not ksm"
      testbed coverage --series convert.mbox --flavour drivers --fuzz 0
    """
    covered: dict[str, Covered] = {}
    patterns = chosen_trials(trials)
    with opened(options) as invocation, kept_dir(invocation.ctx.settings.results_dir) as folder:
        covering = Covering(
            ctx=invocation.ctx,
            plain=invocation.series,
            subject=subject_of(invocation.series, invocation.ctx),
            folder=folder,
            expression=expression,
            drivers=drivers,
            trials=patterns,
            fuzz_seconds=seconds,
        )
        try:
            for arch in invocation.ctx.settings.arch:
                covering.run(arch, partial(_keep, folder, covered, arch))
        finally:
            if covered:
                found = _runs(covered)
                invocation.report((*lines_of(found), f"results: {folder}"), content_of(found))
    sys.exit(EXIT_FINDINGS if idle(_runs(covered)) else EXIT_EXPECTED)


def _runs(covered: Mapping[str, Covered]) -> dict[str, list[HunkRun]]:
    return {arch: each.runs for arch, each in covered.items()}


def _keep(folder: Path, covered: dict[str, Covered], arch: str, found: Covered) -> None:
    """Write what has run so far: what follows may be interrupted."""
    covered[arch] = found
    write_coverage(folder, _runs(covered), {arch: each.tests for arch, each in covered.items()})
