# SPDX-License-Identifier: GPL-2.0
"""`testbed hooks`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from testbed.check.reached import reached_hooks, reached_recipes
from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import source_options
from testbed.errors import SetupError
from testbed.files import write_whole
from testbed.intree.reachable import Reachable, reachable, reachable_lines
from testbed.intree.recipe import load_recipes
from testbed.intree.unreached import unreached
from testbed.inventory.burndown import BurnDown, burn_down
from testbed.inventory.findings import findings
from testbed.inventory.inventory import Inventory, inventory_of
from testbed.inventory.listing import (
    burn_down_lines,
    content,
    csv_text,
    finding_lines,
    hook_line,
    owner_rows,
    totals_line,
)
from testbed.kernel.series import Series
from testbed.kernel.source import resolve
from testbed.pages.burnpage import write_burn_page
from testbed.report.hooks import reach_summary, reached_ways
from testbed.results.store import read_run
from testbed.suite.sides import side_settings

# Deeds of a struct that the table names.
_SHOWN_DEEDS = 3

_STDOUT = Path("-")

_CHECK_FILE = "check.json"


@click.command()
@source_options
@click.option(
    "--against",
    metavar="KERNEL",
    help="Show what changed since KERNEL, as --kernel names one; KERNEL+SERIES has patches on top. "
    "Default: the kernel without --series, if that is given.",
)
@click.option(
    "--run",
    "run_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Show which hooks the tests of this run, or the drivers of this check, have reached, and "
    "how. Default: none.",
)
@click.option("--list", "listed", is_flag=True, help="Print a line for each hook.")
@click.option(
    "-k",
    "word",
    metavar="WORD",
    default="",
    help="With --list, print only hooks whose line contains WORD. Default: all.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write everything to FILE as JSON; - is stdout.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write the hooks to FILE as CSV; - is stdout.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what changed as a page to FILE; with --against or --series.",
)
def hooks(
    against: str | None,
    run_folder: Path | None,
    listed: bool,
    word: str,
    json_file: Path | None,
    csv_file: Path | None,
    html_file: Path | None,
    **options: Any,
) -> None:
    """List the mmap hooks that a kernel's text has: converted or not, and what they do.

    Nothing is built. Findings are printed too, such as a converted hook that is still called by
    its old member.

    \b
    Examples:
      testbed hooks --kernel tree:~/linux
      testbed hooks --kernel tree:~/linux --series convert.mbox
      testbed hooks --kernel tree:~/linux@v7.3 --against tree:~/linux@v7.2 --csv hooks.csv
      testbed hooks --list -k vb2
    """
    if json_file == csv_file == _STDOUT:
        raise click.UsageError("--json and --csv cannot both be stdout")
    options["as_json"] = _STDOUT in (json_file, csv_file)
    with opened(options) as invocation:
        if html_file is not None and not (against or invocation.series.patches):
            raise SetupError("--html shows what changed", hint="give --against or --series")
        inventory = _inventory(invocation, invocation.ctx.settings.kernel, invocation.series)
        burned = _burned(invocation, inventory, against)
        can = reachable(inventory.hooks, load_recipes().values(), unreached())
        words = {each.hook.tree_name: each.words for each in can}
        ways, summary = _reached(run_folder, inventory, can)
        if json_file is not None:
            _write(json_file, json.dumps(content(inventory, burned, ways, words), indent=1) + "\n")
        if csv_file is not None:
            _write(csv_file, csv_text(inventory, ways, words))
        if html_file is not None and burned is not None:
            write_burn_page(html_file, burned)
        if listed:
            lines = (
                hook_line(hook, ways.get(hook.tree_name, ()), words[hook.tree_name])
                for hook in inventory.hooks
            )
            invocation.show(line for line in lines if word in line)
        elif burned is None:
            invocation.console.print(_table(inventory))
        invocation.show(_lines(inventory, burned))
        invocation.show(reachable_lines(can))
        invocation.show(filter(None, [summary]))


def _reached(
    folder: Path | None, inventory: Inventory, can: list[Reachable]
) -> tuple[Mapping[str, Sequence[str]], str]:
    """Return how the hooks were reached by the run or check in a folder, and its summary."""
    if folder is None:
        return {}, ""
    if (folder / _CHECK_FILE).exists():
        return reached_hooks(can, reached_recipes(folder / _CHECK_FILE)), ""
    run = read_run(folder)
    return reached_ways(inventory.real, run.cases), reach_summary(inventory.real, run)


def _inventory(invocation: Invocation, kernel: str, series: Series) -> Inventory:
    return inventory_of(resolve(kernel, invocation.ctx), series, invocation.ctx)


def _burned(invocation: Invocation, after: Inventory, against: str | None) -> BurnDown | None:
    """Return the burn-down from the kernel to compare with, if any is named."""
    settings = invocation.ctx.settings
    if against is not None:
        base, series = side_settings(settings, against, settings.results_dir)
        return burn_down(_inventory(invocation, base.kernel, series), after)
    if invocation.series.patches:
        return burn_down(_inventory(invocation, settings.kernel, Series()), after)
    return None


def _lines(inventory: Inventory, burned: BurnDown | None) -> Iterator[str]:
    if burned is not None:
        yield from burn_down_lines(burned)
    yield from finding_lines(findings(inventory))
    yield from inventory.unread
    yield totals_line(inventory)


def _table(inventory: Inventory) -> Table:
    table = Table(
        "struct", "converted", "hooks", "NULL", "x86_64", "arm64", "does", "called by", box=None
    )
    for row in owner_rows(inventory):
        deeds = ", ".join(f"{deed} {count}" for deed, count in row.deeds[:_SHOWN_DEEDS])
        callers = ", ".join(row.callers)
        counts = (row.converted, row.hooks, row.null, *row.arches)
        table.add_row(row.struct, *(str(count or "") for count in counts), deeds, callers)
    return table


def _write(file: Path, text: str) -> None:
    if file == _STDOUT:
        click.echo(text, nl=False)
    else:
        write_whole(file, text)
