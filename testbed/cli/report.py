# SPDX-License-Identifier: GPL-2.0
"""`testbed report`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from testbed.cli.options import settings_option
from testbed.files import write_whole
from testbed.formats.fileformat import FORMATS
from testbed.formats.kcidb import ORIGIN, kcidb_text
from testbed.formats.section import Section
from testbed.pages.runpages import write_run_site
from testbed.results.store import read_run
from testbed.settings import load_settings
from testbed.suite.continued import find_run


def _format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each format."""
    for form in reversed(FORMATS):
        text = f"Write {form.about}. `-` is standard output."
        command = click.option(f"--{form.name}", metavar="FILE", help=text)(command)
    return command


@click.command()
@click.argument("run", default="latest")
@_format_options
@click.option("--lane", default="", metavar="NAME", help="Name the run in files of several runs.")
@click.option(
    "--kcidb-origin",
    default=ORIGIN,
    show_default=True,
    metavar="NAME",
    help="Send KCIDB reports under this name.",
)
@settings_option
def report(
    run: str, lane: str, kcidb_origin: str, settings_file: Path | None, **files: str | None
) -> None:
    """Write the page of an earlier run, or its results in the formats of other tools.

    RUN is the folder of a run, or its name below the results. Default: the last run. Without an
    option for a format, its pages are made anew: index.html in its folder is the first one.

    \b
    Examples:
      testbed report results/latest
      testbed report results/latest --markdown "$GITHUB_STEP_SUMMARY" --annotations -
      testbed report --ktap results.ktap --kcidb results.json
    """
    settings = load_settings(settings_file, {})
    folder = find_run(settings.results_dir, run)
    found = read_run(folder)
    if not any(files.values()):
        click.echo(f"page: {write_run_site(folder, found)}")
    sections = [Section(found, lane)]
    texts = {form.name: form.text for form in FORMATS}
    texts["kcidb"] = functools.partial(kcidb_text, origin=kcidb_origin)
    for name, file in files.items():
        if file is not None:
            _write(file, texts[name](sections))


def _write(file: str, text: str) -> None:
    if file == "-":
        click.echo(text, nl=False)
    else:
        write_whole(Path(file), text)
