# SPDX-License-Identifier: GPL-2.0
"""`testbed run`."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import click

from testbed.cli.invocation import opened
from testbed.cli.options import expression_option, kernel_options
from testbed.lab.lab import Lab
from testbed.report.live import LiveReport
from testbed.report.run import print_report
from testbed.results.model import EXIT_FINDINGS, exit_status
from testbed.suite.runner import run_suite
from testbed.terminal import growing


@click.command()
@kernel_options
@expression_option
@click.option("--keep", is_flag=True, help="Keep the VM of a failed test until you press Enter.")
def run(expression: str | None, keep: bool, **options: Any) -> None:
    """Build kernels, boot them, and run the tests on them.

    It shows the first unexpected results with their evidence as they happen, and prints a table of
    paths and architectures at the end. On a terminal the table grows during the run.

    Exit status: 0 all results are as expected, 1 the kernel misbehaved, 2 wrong usage or the host
    lacks something, 3 the host or the testbed broke, 130 interrupted.

    \b
    Examples:
      testbed run
      testbed run --kernel debian:7.2 --arch arm64 -k "flags and stack"
    """
    with opened(options) as invocation:
        invocation.show_series()
        lab = Lab(invocation.ctx, invocation.series)
        live = LiveReport(invocation.console)
        with closing(lab), growing(invocation.ctx.progress, live.table):
            found = run_suite(lab, expression, keep=keep, listener=live.add)
        print_report(invocation.console, found, lab.run_dir, shown=live.seen)
    sys.exit(EXIT_FINDINGS if lab.kernel_at_fault else exit_status(found.cases))
