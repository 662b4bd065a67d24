# SPDX-License-Identifier: GPL-2.0
"""Cells of the kind `fuzz`: generated programs, and a case for each finding."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.context import Context
from testbed.fuzz.extra import require_extra
from testbed.lab.environment import environment_of
from testbed.lab.lab import Lab
from testbed.nightly.cell import RUN_FOLDER, Cell, Found
from testbed.nightly.tests_cell import tests_identity
from testbed.results.model import Case, Run, Status
from testbed.results.store import write_run
from testbed.settings import Isolation

if TYPE_CHECKING:
    from testbed.fuzz.alone import Finding
    from testbed.fuzz.campaign import Campaign

# Seconds to build the kernel from nothing, on two cores.
_BUILD = 300.0

_MINUTES = "30"

_PROFILE = "hours"


def run_fuzz(cell: Cell, ctx: Context, out: Path) -> Found:
    """Run programs for the minutes of the cell.

    Raises:
        SetupError: a tool or the extra `fuzz` is missing.
        InfraError: the host failed.
        TreeError: the kernel does not build.
    """
    require_extra()
    from testbed.fuzz.fuzzing import Fuzzing

    folder = out / RUN_FOLDER
    folder.mkdir(exist_ok=True)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with closing(Lab.for_kernel(ctx, cell.load_series(out / "series"), cell.arch, out)) as lab:
        lab.run_dir = folder
        fuzzing = Fuzzing.of(
            lab, _PROFILE, seconds=60.0 * _minutes(cell), seed=cell.seed, corpus=None, forget=()
        )
        fuzzing.run()
        environment = environment_of(lab.prepared(cell.arch), Isolation.CLONE)
    run = Run(
        name=out.name,
        command=f"testbed fuzz --kernel {cell.kernel} --arch {cell.arch} --seed {cell.seed}",
        started=started,
        seconds=round(time.monotonic() - began, 1),
        environments=(environment,),
        cases=tuple(case for campaign in fuzzing.campaigns for case in cases_of(campaign)),
    )
    write_run(folder, run)
    return Found(run)


def cases_of(campaign: Campaign) -> tuple[Case, ...]:
    """Return one case for the campaign, which passes, and a failed one for each finding."""
    tally = campaign.tally
    done = Case(
        test=f"fuzz::campaign[{campaign.arch}]",
        arch=campaign.arch,
        status=Status.PASS,
        seconds=tally.seconds,
        reason=f"{tally.programs} programs, {tally.executions} executions",
    )
    return (done, *map(_case_of, campaign.found))


def _case_of(found: Finding) -> Case:
    return Case(
        test=f"fuzz::{found.deviation.name}[{found.arch}]",
        arch=found.arch,
        status=Status.FAIL,
        seconds=found.seconds,
        reason=found.deviation.headline,
        evidence="\n".join(found.about),
    )


def fuzz_identity(cell: Cell, ctx: Context) -> tuple[str, ...]:
    """Return what the result depends on besides the kernel: the testbed, its seed and its time."""
    return (str(cell.seed), str(_minutes(cell)), *tests_identity(cell, ctx))


def fuzz_seconds(cell: Cell) -> float:
    return _BUILD + 60.0 * _minutes(cell)


def _minutes(cell: Cell) -> int:
    return int(cell.params.get("minutes", _MINUTES))
