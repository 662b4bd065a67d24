# SPDX-License-Identifier: GPL-2.0
"""`testbed run-cell`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from testbed.cli.options import settings_option
from testbed.nightly.cell import read_cell
from testbed.nightly.portable import run_cell as run_here
from testbed.results.model import Status, exit_status
from testbed.settings import load_settings
from testbed.terminal import make_progress, open_console, plain


@click.command("run-cell")
@click.argument("cell", type=click.Path(path_type=Path), metavar="CELL")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Write the result to DIR. If it has the result already, do nothing.",
)  # fmt: skip
@settings_option
def run_cell(cell: Path, out: Path, settings_file: Path | None) -> None:
    """Run one cell of a nightly matrix: the tests that the file CELL describes.

    It needs no history and no other host, so any CI system can run it. `testbed nightly` writes
    such files with --export, and takes the results with --from. A cell that was interrupted is
    continued.

    Exit status: as for `testbed run`. With 2 and 3 there is no result, or with 3 it lacks tests.

    \b
    Examples:
      testbed run-cell cells/0123456789abcdef/cell.json --out results/0123456789abcdef
    """
    wanted, settings = read_cell(cell), load_settings(settings_file)
    console = open_console()
    result = run_here(wanted, out, settings, make_progress(console))
    counts = ", ".join(
        f"{result.count(status)} {status}" for status in Status if result.count(status)
    )
    plain(console, f"{wanted.title}: {counts} in {result.seconds} s")
    plain(console, f"result: {out}")
    sys.exit(exit_status(result.run.cases))
