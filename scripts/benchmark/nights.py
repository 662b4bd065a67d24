# SPDX-License-Identifier: GPL-2.0
"""A made-up history: some lanes, nights and tests, with known, flaky and failing ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from sqlalchemy import Connection, insert, update

from testbed.history import schema, store
from testbed.history.records import CellRecord, CellState, Lane
from testbed.history.schema import STATUS_CODES
from testbed.results.model import Case, Run, Status

# Tests of a lane: those with a known defect, flaky ones, and ones that fail each night.
KNOWN, FLAKY, STILL = 200, 50, 10


@dataclass(frozen=True)
class Scale:
    """How much there is. A lane has more tests than the known, flaky and failing ones together."""

    lanes: int = 8
    nights: int = 31
    tests: int = 4000

    @property
    def results(self) -> int:
        return self.lanes * self.nights * self.tests


def fill(db: Connection, scale: Scale) -> None:
    """Insert all nights but the last."""
    random = Random(1)
    db.execute(insert(schema.test), [{"nodeid": _name(test)} for test in range(scale.tests)])
    reasons = ({"digest": f"{test}", "kind": "", "title": f"{test}"} for test in range(KNOWN))
    db.execute(insert(schema.signature), list(reasons))
    for night in range(scale.nights - 1):
        run = store.begin_run(db, f"night-{night}", started="2026-11-30T00:00:00+00:00")
        for number in range(scale.lanes):
            codes = [STATUS_CODES[_status(random, test)] for test in range(scale.tests)]
            _add_cell(db, run, night, number, codes)


def last_night(scale: Scale) -> Iterator[tuple[Lane, CellRecord]]:
    """Yield the cells of the last night. One test of each lane fails for the first time."""
    for number in range(scale.lanes):
        yield _lane(number), _last_cell(number, scale.tests)


def _last_cell(number: int, tests: int) -> CellRecord:
    """Return a cell whose tests all saw something."""
    random = Random(number)
    seen = {test: _status(random, test) for test in range(tests)} | {tests - 1: Status.FAIL}
    cases = tuple(
        Case(
            test=_name(test),
            arch="x86_64",
            path="stack",
            status=its,
            reason="" if its is Status.PASS else f"KD{test}: calls of close() is 0, not 1",
        )
        for test, its in seen.items()
    )
    run = Run(name="last", command="c", started="s", cases=cases)
    facts = {case.test: {"script": {"vma.0": case.test}} for case in cases}
    return CellRecord(content="last", run=run, facts=facts, artifact=f"last {number}")


def _add_cell(db: Connection, run: int, night: int, number: int, codes: list[int]) -> None:
    where = store.record_without_results(
        db, run, _lane(number), content=f"{night}", state=CellState.LOST, reason=""
    )
    changes = {"state": "done", "kernel": f"7.3.{night}", "artifact": f"{night} {number}"}
    db.execute(update(schema.cell).where(schema.cell.c.id == where.cell).values(changes))
    db.execute(insert(schema.result), [_row(where.cell, *each) for each in enumerate(codes)])
    tallies = Counter(codes).items()
    rows = [{"cell": where.cell, "path": "stack", "status": s, "n": n} for s, n in tallies]
    db.execute(insert(schema.tally), rows)


def _lane(number: int) -> Lane:
    return Lane(matrix="nightly", stream=f"debian:7.{number}", arch="x86_64")


def _name(test: int) -> str:
    return f"tests/vm/contract/test_oracle.py::test_scenario[x86_64-scenario-{test:04}-three-level]"


def _status(random: Random, test: int) -> Status:
    """Return the status of a test in any night but the last."""
    if test < KNOWN:
        return Status.XFAIL
    if test < KNOWN + FLAKY:
        return Status.FAIL if random.random() < 0.2 else Status.PASS
    return Status.FAIL if test < KNOWN + FLAKY + STILL else Status.PASS


def _row(cell: int, test: int, code: int) -> dict[str, object]:
    return {
        "cell": cell,
        "test": test + 1,
        "attempt": 0,
        "status": code,
        "alone": True,
        "signature": test % KNOWN + 1 if code < STATUS_CODES[Status.MISS] else None,
        "observation": None,
        "seconds": 0.1,
    }
