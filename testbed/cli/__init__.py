# SPDX-License-Identifier: GPL-2.0
"""The command line. Only this package and suite/plugin.py print or exit."""

from __future__ import annotations

import logging
from typing import NoReturn

import click

from testbed.cli import (
    bisect,
    bisect_step,
    boot,
    build,
    cache,
    check,
    cluster,
    compare,
    completion,
    doctor,
    drivers,
    gdb,
    history,
    hooks,
    mutants,
    nightly,
    report,
    run,
    run_cell,
    series,
    shell,
)
from testbed.cli.exit import end_with


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mmap-testbed", prog_name="testbed")
@click.option("-v", "--verbose", is_flag=True, help="Log each external command before it runs.")
def cli(verbose: bool) -> None:
    """Build Linux kernels, boot them in QEMU, and test their mmap hooks on every stack.

    `testbed COMMAND --help` describes the options of a command, with examples.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(name)s: %(message)s"
    )
    # At debug level these libraries log their own internals.
    for library in ("paramiko", "qemu", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


for command in (
    *(run.run, build.build, series.series, compare.compare, check.check),
    *(report.report, drivers.drivers),
    *(cluster.cluster, nightly.nightly, history.history, run_cell.run_cell),
    *(bisect.bisect, bisect_step.bisect_step, mutants.mutants, hooks.hooks),
    *(boot.boot, shell.shell, gdb.gdb),
    *(doctor.doctor, cache.cache, completion.completion),
):
    cli.add_command(command)


def main() -> NoReturn:
    """The entry point."""
    end_with("testbed", lambda: cli.main(prog_name="testbed", standalone_mode=False) or 0)
