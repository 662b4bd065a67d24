# SPDX-License-Identifier: GPL-2.0
"""`testbed coverage`."""

from __future__ import annotations

import sys
from typing import Any

import click

from testbed.cli.invocation import opened
from testbed.cli.options import expression_option, json_option, kernel_options
from testbed.coverage.counted import subject_of
from testbed.coverage.covering import Covering
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
    "--fuzz", "seconds", type=click.FloatRange(0), default=60.0, metavar="N",
    help="Run generated programs for N seconds; 0: none. Default: 60.",
)  # fmt: skip
def coverage(expression: str | None, drivers: bool, seconds: float, **options: Any) -> None:
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
    with opened(options) as invocation, kept_dir(invocation.ctx.settings.results_dir) as folder:
        ctx = invocation.ctx
        covering = Covering(
            ctx=ctx,
            plain=invocation.series,
            subject=subject_of(invocation.series, ctx),
            folder=folder,
            expression=expression,
            drivers=drivers,
            fuzz_seconds=seconds,
        )
        covered = {arch: covering.run(arch) for arch in ctx.settings.arch}
        found = {arch: each.runs for arch, each in covered.items()}
        tests = {arch: each.tests for arch, each in covered.items()}
        write_coverage(folder, found, tests)
        invocation.report((*lines_of(found), f"results: {folder}"), content_of(found))
    sys.exit(EXIT_FINDINGS if idle(found) else EXIT_EXPECTED)
