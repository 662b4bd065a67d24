# SPDX-License-Identifier: GPL-2.0
"""`testbed run`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import click

from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import expression_option, kernel_options
from testbed.errors import TestbedError
from testbed.files import full_disk_blamed
from testbed.lab.lab import Lab
from testbed.pages.runpages import write_run_site
from testbed.report.live import LiveReport
from testbed.report.run import print_report
from testbed.results.model import EXIT_FINDINGS, Run, exit_status
from testbed.results.store import read_run
from testbed.suite.continued import OPTION, Part, begun, continuing, find_run
from testbed.suite.runner import run_suite
from testbed.terminal import growing


@click.command()
@kernel_options
@expression_option
@click.option("--keep", is_flag=True, help="Keep the VM of a failed test until you press Enter.")
@click.option(
    "--quick",
    is_flag=True,
    help="Run only the tests that find most, for a first answer within a minute.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Run the tests in the order of an earlier run, which names its seed. Default: random.",
)
@click.option(
    OPTION,
    "earlier",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Continue an interrupted run of the same tests with the same options on the same kernel, "
    "in its folder: run only the tests without a verdict. RUN is the name of its folder. "
    "Default: the last run.",
)
def run(
    expression: str | None,
    keep: bool,
    quick: bool,
    seed: int | None,
    earlier: str | None,
    **options: Any,
) -> None:
    """Build kernels, boot them, and run the tests on them.

    It shows the first unexpected results with their evidence as they happen, and prints a table of
    paths and architectures at the end. On a terminal the table grows during the run. An interrupted
    run prints what it has found so far, and the command that continues it.

    Exit status: 0 all results are as expected, 1 the kernel misbehaved, 2 wrong usage or the host
    lacks something, 3 the host or the testbed broke, 130 interrupted.

    \b
    Examples:
      testbed run
      testbed run --kernel debian:7.2 --arch arm64 -k "flags and stack"
      testbed run --quick
      testbed run --continue
    """
    with opened(options) as invocation:
        root = invocation.ctx.settings.results_dir
        folder = find_run(root, earlier) if earlier is not None else None
        invocation.show_series()
        lab = Lab(invocation.ctx, invocation.series)
        live = LiveReport(invocation.console)
        command = ["testbed", *sys.argv[1:]]
        selection = {"-k": expression or "", "--quick": "yes" if quick else "no"}
        with closing(lab), begun(lab, selection, command, folder) as part:
            live.begin_with(part.cases)
            if part.is_whole:
                invocation.show([f"nothing is left to run: all tests of {lab.run_dir.name} ended"])
                found = read_run(lab.run_dir)
            else:
                with _remainder(invocation, lab, live, part):
                    found = run_suite(
                        lab,
                        expression,
                        keep=keep,
                        quick=quick,
                        seed=seed,
                        listener=live.add,
                        done={case.test for case in part.cases},
                        before=part.cases,
                    )
                found = part.whole(lab.run_dir, found)
        print_report(invocation.console, found, lab.run_dir, shown=live.seen)
        invocation.show([f"page: {write_run_site(lab.run_dir, found)}"])
    sys.exit(EXIT_FINDINGS if lab.kernel_at_fault else exit_status(found.cases))


@contextmanager
def _remainder(invocation: Invocation, lab: Lab, live: LiveReport, part: Part) -> Iterator[None]:
    """Run the block below a growing table. If it does not end by itself, show what it has found."""
    try:
        with growing(invocation.ctx.progress, live.table), full_disk_blamed(lab.run_dir):
            yield
    except (KeyboardInterrupt, TestbedError, OSError):
        if live.cases:
            found, folder = _so_far(lab, live, part), lab.run_dir
            print_report(invocation.console, found, folder, shown=live.seen)
            root = invocation.ctx.settings.results_dir
            again = continuing(part.identity.command, folder, root)
            ended = len(live.cases)
            noun = "test" if ended == 1 else "tests"
            invocation.show([f"{ended} {noun} ended; continue: {again}"])
            with suppress(TestbedError):  # the disk may be full
                invocation.show([f"page: {write_run_site(folder, found)}"])
        raise


def _so_far(lab: Lab, live: LiveReport, part: Part) -> Run:
    """Return the run with the tests that have ended. If the disk is full, its files lack them."""
    identity = part.identity
    found = Run(
        name=lab.run_dir.name, command=shlex.join(identity.command), started=identity.started
    )
    with suppress(TestbedError):
        found = part.whole(lab.run_dir, read_run(lab.run_dir))
    return dataclasses.replace(found, cases=tuple(live.cases))
