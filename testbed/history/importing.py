# SPDX-License-Identifier: GPL-2.0
"""Brings the folder of a run (`testbed run`) into a history, as one cell per architecture."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from testbed.cache import digest
from testbed.history.database import History
from testbed.history.records import CellRecord, Lane
from testbed.history.store import Recorded, begin_run, record_cell, set_artifact
from testbed.results.model import Environment, Run
from testbed.results.store import read_facts, read_run


def import_run(
    history: History, folder: Path, keep: Callable[[Path], str], *, matrix: str = ""
) -> list[tuple[Lane, Recorded]]:
    """Record the run in a folder, and return its lanes. What is recorded already stays as it is.

    Args:
        keep: stores the folder, and returns its name there. It is called if something is new.
        matrix: the name of the lanes' matrix.

    Raises:
        SetupError: the folder holds no run.
        InfraError: the history cannot be written to, or `keep` fails: then nothing is recorded.
    """
    run, facts = read_run(folder), read_facts(folder)
    with history.write() as db:
        number = begin_run(db, run.name, matrix=matrix, command=run.command, started=run.started)
        found = []
        for environment in run.environments:
            record = CellRecord(
                content=content_of(run, environment),
                run=run,
                facts=facts,
                partial=is_partial(run),
            )
            lane = lane_of(run, environment, matrix)
            found.append((lane, record_cell(db, number, lane, record)))
        if new := [recorded.cell for _, recorded in found if recorded.is_new]:
            set_artifact(db, new, keep(folder))
    return found


def lane_of(run: Run, environment: Environment, matrix: str = "") -> Lane:
    """Return the lane of one architecture of a run. Its stream is the kernel that was asked for."""
    return Lane(
        matrix=matrix,
        stream=_option(run, "--kernel") or environment.source,
        arch=environment.arch,
        series=" ".join(environment.series),
        flavour=environment.flavour,
        isolation=environment.isolation,
        accel=environment.accel,
    )


def content_of(run: Run, environment: Environment) -> str:
    """Return the content key of one architecture of a run."""
    same = dataclasses.replace(environment, build_seconds=0.0, accel_reason="")
    tests = sorted(case.test for case in run.cases if case.arch in ("", environment.arch))
    return digest(json.dumps(dataclasses.asdict(same), sort_keys=True), *tests)


def is_partial(run: Run) -> bool:
    """Whether a run chose some of the tests, or stopped: absent tests are not gone."""
    chosen = _option(run, "-k") or "--quick" in _words(run)
    return bool(run.left_out or chosen)


def _option(run: Run, name: str) -> str:
    """Return the value of an option in the command of a run; empty without it."""
    for word, value in pairwise([*_words(run), ""]):
        if word == name:
            return value
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return ""


def _words(run: Run) -> list[str]:
    try:
        return shlex.split(run.command)
    except ValueError:  # a quote is missing: an older testbed wrote it
        return []
