# SPDX-License-Identifier: GPL-2.0
"""A made-up night whose findings have a past, with the folder of its only cell that ran."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import page_parts
from history_parts import LANE, Nights

from testbed.history import store
from testbed.history.classify import classify
from testbed.history.database import History, history_url, opened_history
from testbed.history.records import CellRecord, Finding
from testbed.nightly.cell import RUN_FOLDER, Cell
from testbed.nightly.night import Bisected, Night, NightCell
from testbed.nightly.table import State
from testbed.pages.nightsite import NightSite, read_night
from testbed.results.model import Case, Status
from testbed.settings import Settings

FLIPPING = f"{page_parts.FILE}::test_flips[x86_64]"
ARM = dataclasses.replace(LANE, arch="arm64")


@contextmanager
def a_history(folder: Path) -> Iterator[History]:
    """An empty history in a folder, to be written."""
    with opened_history(history_url(Settings(data_dir=folder)), write=True) as history:
        yield history


def a_night(folder: Path, history: History, *, failing: bool = True, earlier: int = 6) -> NightSite:
    """Record some good nights and one more in a history, and return the latter's pages."""
    run_folder = folder / "cells" / "0123456789ab" / RUN_FOLDER
    run = page_parts.broken_run(run_folder, failing=failing)
    nights = Nights(history)
    for number in range(earlier):
        good = tuple(dataclasses.replace(case, status=_before(case)) for case in run.cases)
        nights.add(*good, _flipping(number))
        nights.add(*good, lane=ARM, same_night=True)
    run = dataclasses.replace(run, cases=(*run.cases, _flipping(earlier)))
    with history.write() as db:
        number = store.begin_run(db, folder.name, matrix="nightly")
        for lane in (LANE, ARM):
            store.record_cell(db, number, lane, CellRecord(content="tonight", run=run))
        findings = tuple(classify(db, number)) if failing else ()
    return read_night(history, _night(folder, run_folder, findings, failing=failing))


def _night(
    folder: Path, run_folder: Path, findings: tuple[Finding, ...], *, failing: bool
) -> Night:
    ran = Cell(
        kind="tests",
        matrix="nightly",
        stream="debian:7.3",
        kernel="debian:7.3.4-1",
        arch="x86_64",
        flavour="base",
        isolation="batch",
        content="tonight",
    )
    lost = dataclasses.replace(ran, stream="next", content="lost")
    cells = [NightCell(cell=ran, state=State.DONE, folder=run_folder.parent, seconds=600.0)]
    bisected = []
    if failing:
        cells.append(NightCell(cell=lost, state=State.FAILED, reason="the disk <is> full"))
        bisected.append(
            Bisected(
                stream="next",
                arch="x86_64",
                test=f"{page_parts.FILE}::test_scenario[x86_64-pgoff-stack]",
                good="0123456789abcdef",
                bad="fedcba9876543210",
                commit="aaaaaaaaaaaaaaaa",
                title="mm: forget the pgoff",
            )
        )
    return Night(
        name=folder.name,
        folder=folder,
        matrix="nightly",
        started="2026-11-30T01:00:00+00:00",
        seconds=7200.0,
        cells=tuple(cells),
        findings=findings,
        bisected=tuple(bisected),
    )


def _before(case: Case) -> Status:
    return Status.PASS if case.status in (Status.FAIL, Status.MISS) else case.status


def _flipping(night: int) -> Case:
    bad = night % 2 == 1
    status = Status.FAIL if bad else Status.PASS
    return Case(test=FLIPPING, arch="x86_64", status=status, reason="late" if bad else "")
