# SPDX-License-Identifier: GPL-2.0
"""`testbed compare`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import expression_option, json_option, kernel_options
from testbed.coverage.ranby import hunks_of_tests
from testbed.pages.comparepage import write_compare_site
from testbed.report.comparison import (
    comparison_content,
    exit_status,
    markdown_lines,
    write_comparison,
)
from testbed.report.diff import Side
from testbed.report.diff import compare as compare_sides
from testbed.results.store import kept_dir
from testbed.suite.sides import recorded_side, run_side, side_settings


@click.command()
@kernel_options
@json_option
@expression_option
@click.option(
    "--coverage", "covered", type=click.Path(path_type=Path), metavar="DIR",
    help="Add a column: the hunks of the series that the changed tests ran, from the results of "
    "`testbed coverage`.",
)  # fmt: skip
@click.argument("base")
@click.argument("new")
def compare(
    base: str, new: str, expression: str | None, covered: Path | None, **options: Any
) -> None:
    """Run the same tests on two kernels, and show the differences.

    BASE and NEW are each KERNEL, KERNEL+SERIES, +SERIES (on top of --kernel), or the folder of an
    earlier run.

    Exit status: 0 nothing differs, 1 something differs; 2, 3 and 130 as for `testbed run`.

    \b
    Examples:
      testbed compare debian:7.3 debian:7.3+fixes/
      testbed compare tree:~/linux@v7.3 tree:~/linux --arch x86_64 -k stack
      testbed compare results/2026-11-20T10-00-00 results/latest
    """
    with (
        opened(options) as invocation,
        kept_dir(invocation.ctx.settings.results_dir) as folder,
    ):
        hunks = hunks_of_tests(covered) if covered is not None else {}
        sides = [
            _side(invocation, name, folder / title, expression)
            for title, name in (("base", base), ("new", new))
        ]
        found = compare_sides(*sides)
        write_comparison(folder, found, hunks)
        page = write_compare_site(folder, found)
        lines = (*markdown_lines(found, hunks), f"results: {folder}", f"page: {page}")
        invocation.report(lines, comparison_content(found))
    sys.exit(exit_status(found))


def _side(invocation: Invocation, name: str, results: Path, expression: str | None) -> Side:
    """Return one side of a comparison: an earlier run, or one that is run now."""
    recorded = recorded_side(name)
    if recorded is not None:
        return recorded
    settings, series = side_settings(invocation.ctx.settings, name, results)
    ctx = dataclasses.replace(invocation.ctx, settings=settings)
    dataclasses.replace(invocation, ctx=ctx, series=series).show_series()
    with ctx.progress.step(f"{results.name}: {name}"):
        return run_side(name, ctx, series, expression)
