# SPDX-License-Identifier: GPL-2.0
"""Remake testbed/suite/seconds.json: the seconds of each sort of tests."""

from __future__ import annotations

from pathlib import Path

import click

from testbed.cli.exit import end_with
from testbed.results.model import Environment
from testbed.results.store import read_run
from testbed.suite.orderdata import SECONDS_FILE, measured, write_seconds


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(folders: tuple[Path, ...]) -> None:
    """Remake testbed/suite/seconds.json from whole runs, one for each architecture.

    \b
    Example:
      testbed run --arch x86_64 --results /tmp/a
      testbed run --arch arm64 --results /tmp/b
      scripts/seconds /tmp/a/latest /tmp/b/latest
    """
    runs = [read_run(folder) for folder in folders]
    seconds = measured(case for run in runs for case in run.cases)
    environments = [environment for run in runs for environment in run.environments]
    write_seconds(seconds, "; ".join(map(_line, environments)))
    click.echo(f"{SECONDS_FILE}: {len(seconds.known)} sorts of cases, mean {seconds.mean} s")


def _line(environment: Environment) -> str:
    version = environment.kernel.partition("-")[0]
    words = (environment.arch, version, environment.flavour, environment.accel)
    return " ".join((*words, environment.isolation))


if __name__ == "__main__":
    end_with("seconds", lambda: main.main(standalone_mode=False) or 0)
