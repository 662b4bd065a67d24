# SPDX-License-Identifier: GPL-2.0
"""`testbed mutants`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import json_option, kernel_options
from testbed.errors import SetupError
from testbed.mutants.campaign import (
    Campaign,
    exit_status,
    killers_of,
    records_of,
    sample,
    select,
)
from testbed.mutants.harvest import Wish, files_of, generate
from testbed.mutants.mutation import (
    MUTANTS,
    Mutation,
    Outcome,
    load_mutations,
    summary_lines,
    table_lines,
)
from testbed.mutants.rates import rate_lines
from testbed.results.store import kept_dir
from testbed.suite.orderdata import KILLERS_FILE, load_killers, write_killers

# Mutations that --generate tries, without --sample.
_GENERATED = 20


@click.command()
@kernel_options
@json_option
@click.option(
    "-k",
    "expression",
    metavar="EXPR",
    help="Try only mutations whose name or files match EXPR, as pytest -k. Default: all.",
)
@click.option("--list", "only_list", is_flag=True, help="List the mutations, and try none.")
@click.option(
    "--from", "origin", type=click.Path(path_type=Path), default=MUTANTS, metavar="DIR",
    help="Read the mutations from DIR: *.patch, *.diff and *.cocci. Default: the testbed's own.",
)  # fmt: skip
@click.option(
    "--generate", "files", multiple=True, metavar="FILE",
    help="Make mutations of this C file of the kernel by its syntax, and try --sample of them "
    "(default: 20). Repeatable.",
)  # fmt: skip
@click.option(
    "--functions", default="", metavar="NAME[,NAME]",
    help="With --generate: only in these functions, such as compat* or do_mmap. Default: all.",
)  # fmt: skip
@click.option(
    "--tests",
    metavar="EXPR",
    help="Run only tests that match EXPR, as pytest -k. Default: all.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Repeat mutations with a recorded outcome. Default: take the outcome from the record.",
)
@click.option(
    "--sample", "count", type=click.IntRange(1), metavar="N",
    help="Try only N of these mutations, which --seed chooses. Default: all.",
)  # fmt: skip
@click.option(
    "--seed", default="1", metavar="TEXT", help="Choose the mutations of --sample. Default: 1."
)
@click.option(
    "--quick", is_flag=True, help="Run only the tests of `testbed run --quick`. Default: all."
)
@click.option(
    "--write-order",
    is_flag=True,
    help="At the end, write the tests that killed most mutations of DIR to the checkout: "
    "`testbed run` begins with them.",
)
def mutants(
    expression: str | None,
    only_list: bool,
    origin: Path,
    files: tuple[str, ...],
    functions: str,
    tests: str | None,
    fresh: bool,
    count: int | None,
    seed: str,
    quick: bool,
    write_order: bool,
    **options: Any,
) -> None:
    """Show which known-bad kernels the tests catch.

    It builds a kernel with each mutation, and runs the tests on it until the first unexpected
    failure.

    Exit status: 0 every mutation was caught, 1 one survived, 3 the host failed on one; 2 and 130 as
    for `testbed run`.

    \b
    Examples:
      testbed mutants --arch x86_64
      testbed mutants --list -k "util or vma"
      testbed mutants --from ~/mutations --kernel debian:7.2
      testbed mutants --generate mm/mmap.c --sample 30 --seed 7
    """
    names = tuple(filter(None, functions.split(",")))
    wish = Wish(files_of(files), count or _GENERATED, seed, names) if files else None
    if wish is not None and origin != MUTANTS:
        raise SetupError("--from and --generate exclude each other")
    with opened(options) as invocation:
        loaded = load_mutations(origin) if wish is None else _generated(invocation, wish)
        chosen = select(loaded, expression)
        chosen = sample(chosen, count, seed) if count else chosen
        if only_list:
            invocation.report(map(_line, chosen), [dataclasses.asdict(each) for each in chosen])
            return
        outcomes = _run_campaign(invocation, chosen, fresh=fresh, tests=tests, quick=quick)
        if write_order:
            records = records_of(invocation.ctx.settings)
            write_killers(killers_of(loaded, records, load_killers()))
            invocation.ctx.progress.note(f"the tests that kill most are in {KILLERS_FILE}")
    sys.exit(exit_status(outcomes))


def _generated(invocation: Invocation, wish: Wish) -> list[Mutation]:
    """Make mutations, with a note of what became of all that were looked at."""
    ctx = invocation.ctx
    with kept_dir(ctx.settings.results_dir) as folder:
        harvest = generate(wish, invocation.series, ctx.settings.arch[0], folder, ctx)
    ctx.progress.note(f"{harvest.line}; they are in {folder}")
    if not harvest.mutations:
        raise SetupError("no mutation changes the object code", hint="name other files")
    return harvest.mutations


def _line(mutation: Mutation) -> str:
    return f"{mutation.name}: {mutation.what or ', '.join(mutation.files)}"


def _run_campaign(
    invocation: Invocation, mutations: Sequence[Mutation], **how: Any
) -> list[Outcome]:
    """Try all mutations. An interrupted campaign shows its outcomes so far."""
    with kept_dir(invocation.ctx.settings.results_dir) as folder:
        campaign = Campaign(invocation.ctx, invocation.series, folder, **how)
        try:
            campaign.run(mutations)
        finally:
            found = campaign.outcomes
            lines = (
                *table_lines(mutations, found),
                *rate_lines(mutations, found),
                *summary_lines(found),
                f"results: {folder}",
            )
            invocation.report(lines, [dataclasses.asdict(outcome) for outcome in found])
    return campaign.outcomes
