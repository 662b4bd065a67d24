# SPDX-License-Identifier: GPL-2.0
"""A history of a million results: a cell is added, and a night classified, in half a second.

The limits are for CPU time, of this process and of the server's, so that a busy host keeps them.
With `-s` the test shows both times.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import postgresql_parts
import pytest
from sqlalchemy import Connection, insert, text, update

from testbed.history import acceptance, cells, queries, schema, store
from testbed.history.classify import classify
from testbed.history.database import History, history_url, opened_history
from testbed.history.prune import stored_cells
from testbed.history.records import CellRecord, CellState, Class, Lane
from testbed.history.schema import STATUS_CODES
from testbed.nightly.night import Night
from testbed.pages.nightpages import index
from testbed.pages.nightsite import read_night
from testbed.pages.site import INDEX, write_pages
from testbed.results.model import Case, Run, Status
from testbed.settings import Settings

LANES, NIGHTS, TESTS = 8, 31, 4000

# Of the tests: those with a known defect, flaky ones, and ones that fail each night.
KNOWN, FLAKY, STILL = 200, 50, 10

LIMIT, PAGE_LIMIT = 0.5, 1.0  # seconds


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def history(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[History]:
    folder = tmp_path_factory.mktemp("history")
    with ExitStack() as stack:
        url = history_url(Settings(data_dir=folder))
        if request.param == "postgresql":
            if reason := postgresql_parts.why_not():
                pytest.skip(reason)
            url = stack.enter_context(postgresql_parts.server(folder / "log"))
        history = stack.enter_context(opened_history(url, write=True))
        with history.write() as db:
            fill(db)
        if request.param == "postgresql":
            with history.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as raw:
                raw.execute(text("ANALYZE"))  # as the server itself does within a minute
        yield history


def lane(number: int) -> Lane:
    return Lane(matrix="nightly", stream=f"debian:7.{number}", arch="x86_64")


def name(test: int) -> str:
    return f"tests/vm/contract/test_oracle.py::test_scenario[x86_64-scenario-{test:04}-three-level]"


def status(random: Random, test: int) -> Status:
    """The status of a test in any night but the last."""
    if test < KNOWN:
        return Status.XFAIL
    if test < KNOWN + FLAKY:
        return Status.FAIL if random.random() < 0.2 else Status.PASS
    return Status.FAIL if test < KNOWN + FLAKY + STILL else Status.PASS


def fill(db: Connection) -> None:
    """Insert all nights but the last."""
    random = Random(1)
    db.execute(insert(schema.test), [{"nodeid": name(test)} for test in range(TESTS)])
    reasons = ({"digest": f"{test}", "kind": "", "title": f"{test}"} for test in range(KNOWN))
    db.execute(insert(schema.signature), list(reasons))
    for night in range(NIGHTS - 1):
        run = store.begin_run(db, f"night-{night}", started="2026-11-30T00:00:00+00:00")
        for number in range(LANES):
            where = store.record_without_results(
                db, run, lane(number), content=f"{night}", state=CellState.LOST, reason=""
            )
            changes = {"state": "done", "kernel": f"7.3.{night}", "artifact": f"{night} {number}"}
            db.execute(update(schema.cell).where(schema.cell.c.id == where.cell).values(changes))
            codes = [STATUS_CODES[status(random, test)] for test in range(TESTS)]
            db.execute(insert(schema.result), [row(where.cell, *each) for each in enumerate(codes)])
            tallies = Counter(codes).items()
            rows = [{"cell": where.cell, "path": "stack", "status": s, "n": n} for s, n in tallies]
            db.execute(insert(schema.tally), rows)


def row(cell: int, test: int, code: int) -> dict[str, object]:
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


def last_night(number: int) -> CellRecord:
    """The last night: a test of each lane fails for the first time, and all saw something."""
    random = Random(number)
    seen = {test: status(random, test) for test in range(TESTS)} | {TESTS - 1: Status.FAIL}
    cases = tuple(
        Case(
            test=name(test),
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


@dataclass(frozen=True)
class Clock:
    """Measures work on a history."""

    servers: tuple[int, ...] = ()  # process ids of the server's side

    @classmethod
    def of(cls, db: Connection) -> Clock:
        if db.dialect.name == "sqlite":
            return cls()
        every = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return cls(tuple(db.scalars(text(every))))

    def cpu(self) -> float:
        """Return the CPU seconds so far, of this process and of the servers'."""
        stats = (Path(f"/proc/{pid}/stat").read_text() for pid in self.servers)
        fields = (stat.rpartition(")")[2].split() for stat in stats)
        ticks = sum(int(each[11]) + int(each[12]) for each in fields)  # proc(5): utime, stime
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def timed(self, what: str, work: Callable[[], object], times: int = 3) -> float:
        """Return the median CPU seconds of some work, and show it."""
        cpu, wall = [], []
        for _ in range(times):
            before, began = self.cpu(), time.monotonic()
            work()
            cpu.append(self.cpu() - before)
            wall.append(time.monotonic() - began)
        middle = statistics.median(cpu)
        print(f"{what}: {middle:.3f} s of CPU time, {statistics.median(wall):.3f} s")
        return middle


def test_a_million_results_are_quick(history: History, tmp_path: Path) -> None:
    print(f"\n{history.engine.dialect.name}, {LANES * NIGHTS * TESTS} results")
    with history.write() as db:
        last = store.begin_run(db, "last")
    records = iter([(lane(number), last_night(number)) for number in range(LANES)])

    with history.write() as db:
        clock = Clock.of(db)
        added = clock.timed(
            "add a cell of 4,000 tests",
            lambda: store.record_cell(db, last, *next(records)),
            LANES,
        )
    with history.read() as db:
        clock = Clock.of(db)
        classified = clock.timed("classify a night of 8 lanes", lambda: classify(db, last))
        overview = clock.timed("overview of 31 nights", lambda: queries.night(db, last))
        found = classify(db, last)
        shown = [each for each in found if each.lane_id == found[0].lane_id]
        tests = [each.test for each in shown]
        clock.timed("strips of one lane", lambda: queries.strips(db, shown[0].lane_id, tests))
        clock.timed("one test in a lane", lambda: queries.past(db, shown[0].lane_id, tests[0]))
        clock.timed("changes to accept", lambda: acceptance.pending(db), 1)
        clock.timed("what may be pruned", lambda: stored_cells(db), 1)
        assert cells.last_run(db) == last
        night = Night(
            name="last",
            folder=tmp_path,
            matrix="nightly",
            started="2026-11-30T01:00:00+00:00",
            seconds=1.0,
            findings=tuple(found),
        )
        page = clock.timed(
            "index page", lambda: write_pages(tmp_path, index(read_night(history, night)))
        )
    kinds = Counter(each.kind for each in found)
    print(dict(kinds))
    assert kinds[Class.NEW] == LANES
    assert added < LIMIT
    assert classified < LIMIT
    assert overview < LIMIT
    assert page < PAGE_LIMIT
    assert (tmp_path / INDEX).read_text().count("<tr data-kind") == len(found)
