"""The command line. Only this room and plugin.py print or exit."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.table import Table

from testbed.cli.bisect import bisect, bisect_step
from testbed.cli.boot import boot, shell
from testbed.cli.check import check
from testbed.cli.compare import compare
from testbed.cli.exit import end_with
from testbed.cli.gdb import gdb
from testbed.cli.options import (
    Invocation,
    kernel_options,
    opened,
    settings_option,
)
from testbed.errors import SetupError
from testbed.lab.doctor import Finding, examine
from testbed.lab.lab import Lab
from testbed.mutants.campaign import Campaign, select
from testbed.mutants.campaign import exit_status as mutants_status
from testbed.mutants.mutation import (
    MUTANTS,
    Mutation,
    Outcome,
    load_mutations,
    summary_lines,
    table_lines,
)
from testbed.report.run import print_report
from testbed.results.model import EXIT_FINDINGS, EXIT_SETUP, exit_status
from testbed.results.store import new_run_dir
from testbed.settings import Settings
from testbed.suite.runner import run_suite
from testbed.terminal import plain


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Show each command that is run.")
def cli(verbose: bool) -> None:
    """Build Linux kernels, boot them in QEMU, and test their mmap hooks through every stack."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(name)s: %(message)s"
    )
    # What the libraries say at debug level is about themselves.
    for library in ("paramiko", "qemu", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


@cli.command()
@kernel_options
@click.option("-k", "expression", metavar="EXPR", help="Only tests that match, as pytest -k.")
@click.option("--keep", is_flag=True, help="A VM whose test failed stays until Enter is pressed.")
def run(expression: str | None, keep: bool, **options: Any) -> None:
    """Build, boot and test; a table of paths and architectures at the end.

    \b
    testbed run
    testbed run --kernel debian:7.2 --arch arm64 -k "flags and stack"
    """
    with opened(options) as invocation:
        invocation.show_series()
        lab = Lab(invocation.ctx, invocation.series)
        with closing(lab):
            found = run_suite(lab, expression, keep=keep)
        print_report(invocation.console, found, lab.run_dir)
    sys.exit(EXIT_FINDINGS if lab.kernel_at_fault else exit_status(found.cases))


@cli.command()
@kernel_options
def build(**options: Any) -> None:
    """Build kernels with their modules, guest programs and images.

    \b
    testbed build --kernel tree:~/linux --arch x86_64
    """
    with opened(options) as invocation:
        for prepared in invocation.prepared_kernels():
            kernel = prepared.kernel
            invocation.console.print(f"{prepared.arch}: {kernel.release}", highlight=False)
            for path in (
                kernel.image,
                kernel.vmlinux,
                kernel.config,
                kernel.log,
                prepared.image.path,
            ):
                plain(invocation.console, f"  {path}")


@cli.command()
@kernel_options
def series(**options: Any) -> None:
    """Show how each patch of a series fits a kernel's text; nothing is built.

    \b
    testbed series --series fixes.mbox --kernel debian:7.2
    testbed series --series v7.3..topic --kernel tree:~/linux@v7.3
    """
    with opened(options) as invocation:
        if not invocation.series.patches:
            raise SetupError("there is no series to show", hint="give --series")
        invocation.show_series()


@cli.command()
@kernel_options
def doctor(**options: Any) -> None:
    """Say what the host has, what it lacks, and the cure; which accelerator is used, and why.

    \b
    testbed doctor
    """
    with opened(options) as invocation:
        findings = examine(invocation.ctx.settings, invocation.ctx.cache)
        for line in (*_finding_lines(findings), *_settings_lines(invocation.ctx.settings)):
            plain(invocation.console, line)
    sys.exit(0 if all(finding.good for finding in findings) else EXIT_SETUP)


@cli.command()
@kernel_options
@click.option("-k", "expression", metavar="EXPR", help="Only mutations that match, as pytest -k.")
@click.option("--list", "only_list", is_flag=True, help="List the mutations only.")
@click.option(
    "--from", "origin", type=click.Path(path_type=Path), default=MUTANTS, metavar="DIR",
    help="A folder of *.patch, *.diff or *.cocci. Default: the testbed's own.",
)  # fmt: skip
@click.option("--tests", metavar="EXPR", help="Only these tests, as pytest -k.")
@click.option("--fresh", is_flag=True, help="Try also what was tried before with these tests.")
def mutants(
    expression: str | None,
    only_list: bool,
    origin: Path,
    tests: str | None,
    fresh: bool,
    **options: Any,
) -> None:
    """Run the tests on known-bad kernels, and show which of them they tell from the good one.

    \b
    testbed mutants --arch x86_64
    testbed mutants --list -k "util or vma"
    testbed mutants --from ~/mutations --kernel debian:7.2
    """
    chosen = select(load_mutations(origin), expression)
    if only_list:
        for mutation in chosen:
            click.echo(f"{mutation.name}: {mutation.what or ', '.join(mutation.files)}")
        return
    with opened(options) as invocation:
        outcomes = _run_campaign(invocation, chosen, fresh=fresh, tests=tests)
    sys.exit(mutants_status(outcomes))


cli.add_command(bisect)
cli.add_command(bisect_step)
cli.add_command(boot)
cli.add_command(shell)
cli.add_command(gdb)
cli.add_command(compare)
cli.add_command(check)


@cli.group()
def cache() -> None:
    """What is kept between runs, and how much room it takes."""


@cache.command("list")
@settings_option
def cache_list(**options: Any) -> None:
    """List what is kept, the least recently used first.

    \b
    testbed cache list
    """
    with opened(options) as invocation:
        table = Table("kind", "key", "MB", "last used", box=None)
        entries = invocation.ctx.cache.entries()
        for entry in entries:
            table.add_row(entry.kind, entry.key, f"{entry.size / 1e6:.0f}", _date(entry.used))
        objects = invocation.ctx.cache.ccache_size()
        table.add_row("ccache", "", f"{objects / 1e6:.0f}", "")
        invocation.console.print(table)
        total = (sum(entry.size for entry in entries) + objects) / 1e9
        invocation.console.print(
            f"{total:.1f} GB of {invocation.ctx.settings.cache_limit / 1e9:.0f} GB"
        )


@cache.command("prune")
@click.option("--limit", type=float, help="Gigabytes to keep. Default: cache_limit.")
@settings_option
def cache_prune(limit: float | None, **options: Any) -> None:
    """Remove the least recently used; what a live run holds stays.

    \b
    testbed cache prune --limit 5
    """
    with opened(options) as invocation:
        bound = invocation.ctx.settings.cache_limit if limit is None else int(limit * 1e9)
        for entry in invocation.ctx.cache.prune(bound):
            invocation.console.print(f"removed {entry.kind}/{entry.key}", highlight=False)


def main() -> NoReturn:
    """The entry point."""
    end_with("testbed", lambda: cli.main(standalone_mode=False) or 0)


def _run_campaign(
    invocation: Invocation, mutations: list[Mutation], *, fresh: bool, tests: str | None
) -> list[Outcome]:
    folder = new_run_dir(invocation.ctx.settings.results_dir, latest=False)
    campaign = Campaign(invocation.ctx, invocation.series, folder, fresh=fresh, tests=tests)
    try:
        campaign.run(mutations)
    finally:
        found = campaign.outcomes
        for line in (*table_lines(mutations, found), *summary_lines(found), f"results: {folder}"):
            plain(invocation.console, line)
    return campaign.outcomes


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _finding_lines(findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"{'ok  ' if finding.good else 'LACK'} {finding.what}: {finding.found}"
        if finding.hint and not finding.good:
            yield f"     hint: {finding.hint}"


def _settings_lines(settings: Settings) -> Iterator[str]:
    yield "settings in force:"
    for field in dataclasses.fields(settings):
        yield f"  {field.name} = {getattr(settings, field.name)}"
