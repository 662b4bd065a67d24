# SPDX-License-Identifier: GPL-2.0
"""Cells of the kind `mutants`: known-bad kernels, which the tests should catch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from testbed.context import Context
from testbed.errors import InfraError
from testbed.mutants.campaign import Campaign, sample, select
from testbed.mutants.mutation import MUTANTS, Fate, Mutation, Outcome, load_mutations
from testbed.nightly.cell import RUN_FOLDER, Cell, Found
from testbed.nightly.tests_cell import tests_identity
from testbed.results.model import Case, Run, Status
from testbed.results.store import write_run

# Seconds: the proof that the tests are green without a mutation, and a mutation on two cores.
_CONTROL = 500.0
_MUTATION = 60.0

_COUNT = "20"

_STATUSES = {
    Fate.SURVIVED: Status.FAIL,
    Fate.EQUIVALENT: Status.SKIP,
    Fate.ABSENT: Status.SKIP,
    Fate.UNKNOWN: Status.MISS,
}


def run_mutants(cell: Cell, ctx: Context, out: Path) -> Found:
    """Try some mutations. Outcomes that an earlier campaign on this host recorded count.

    Raises:
        InfraError: the tests are not green on the kernel without a mutation.
        SetupError: a tool is missing.
        TreeError: the kernel without a mutation does not build.
    """
    folder = out / RUN_FOLDER
    folder.mkdir(exist_ok=True)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    series = cell.load_series(out / "series")
    campaign = Campaign(ctx, series, folder, tests=cell.expression or None)
    campaign.run(chosen(cell))
    run = Run(
        name=out.name,
        command=f"testbed mutants --kernel {cell.kernel} --arch {cell.arch}",
        started=started,
        seconds=round(time.monotonic() - began, 1),
        environments=tuple(campaign.environments.values()),
        cases=tuple(case_of(outcome) for outcome in campaign.outcomes),
    )
    if all(case.status is Status.MISS for case in run.cases):
        raise InfraError("no mutation could be tried", logs=(folder,))
    write_run(folder, run)
    return Found(run)


def chosen(cell: Cell) -> Sequence[Mutation]:
    """Return the mutations of a cell: `count` of those that match `mutants`."""
    mutations = select(load_mutations(MUTANTS), cell.params.get("mutants"))
    if cell.only:
        return [each for each in mutations if _test_of(each.name, cell.arch) in cell.only]
    return sample(mutations, _count(cell), str(cell.seed))


def case_of(outcome: Outcome) -> Case:
    """Return the case of a mutation: it passes if the tests caught the mutation."""
    status = _STATUSES.get(outcome.fate, Status.PASS)
    reason = outcome.reason if status is not Status.PASS else f"{outcome.fate}: {outcome.test}"
    return Case(
        test=_test_of(outcome.mutation, outcome.arch),
        arch=outcome.arch,
        status=status,
        seconds=outcome.seconds,
        reason=reason.strip(": "),
        evidence=outcome.evidence,
    )


def mutants_identity(cell: Cell, ctx: Context) -> tuple[str, ...]:
    """Return what the outcomes depend on besides the kernel: the mutations, and the tests."""
    mutations = [each.identity for each in chosen(dataclasses.replace(cell, only=()))]
    return (*mutations, *tests_identity(cell, ctx))


def mutants_seconds(cell: Cell) -> float:
    return _CONTROL + _MUTATION * _count(cell) * 2 / cell.workers


def _count(cell: Cell) -> int:
    return int(cell.params.get("count", _COUNT))


def _test_of(mutation: str, arch: str) -> str:
    return f"mutants::{mutation}[{arch}]"
