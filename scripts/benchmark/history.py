# SPDX-License-Identifier: GPL-2.0
"""Measures a history of a million results: what a night adds, asks and shows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, func, select, text

from benchmark.figures import Samples
from benchmark.nights import Scale, fill, last_night
from benchmark.quantities import (
    HISTORY_ADD,
    HISTORY_CHANGES,
    HISTORY_CLASSES,
    HISTORY_NIGHTS,
    HISTORY_PAGE,
    HISTORY_PRUNE,
    HISTORY_STRIPS,
    HISTORY_TEST,
    Quantity,
)
from testbed.errors import SetupError
from testbed.history import acceptance, queries, schema, store
from testbed.history.classify import classify
from testbed.history.database import History, opened_history
from testbed.history.prune import stored_cells
from testbed.history.records import Finding
from testbed.nightly.night import Night
from testbed.pages.nightpages import index
from testbed.pages.nightsite import read_night
from testbed.pages.site import write_pages

T = TypeVar("T")

ROUNDS = 3


@dataclass(frozen=True)
class Clock:
    """Measures the CPU time of work on a history, of this process and of the server's."""

    shown: str  # the database
    samples: Samples
    servers: tuple[int, ...] = ()  # process ids of the server's side

    @classmethod
    def of(cls, db: Connection, samples: Samples) -> Clock:
        if db.dialect.name == "sqlite":
            return cls(db.dialect.name, samples)
        every = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return cls(db.dialect.name, samples, tuple(db.scalars(text(every))))

    def cpu(self) -> float:
        """Return the CPU seconds so far."""
        stats = (Path(f"/proc/{pid}/stat").read_text() for pid in self.servers)
        fields = (stat.rpartition(")")[2].split() for stat in stats)
        ticks = sum(int(each[11]) + int(each[12]) for each in fields)  # proc(5): utime, stime
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def measure(self, quantity: Quantity, work: Callable[[], T], times: int = ROUNDS) -> T:
        """Do some work so many times, and return what it returned the last time."""
        for _ in range(times):
            before = self.cpu()
            done = work()
            self.samples.add(self.shown, quantity, self.cpu() - before)
        return done


def measure_history(url: URL, folder: Path, scale: Scale, samples: Samples) -> list[Finding]:
    """Fill an empty history, measure its last night, and return what is found in that.

    The pages are written to `folder`.

    Raises:
        SetupError: the database is not empty, or cannot be opened.
    """
    with opened_history(url, write=True) as history:
        _require_empty(history)
        with history.write() as db:
            fill(db, scale)
        _analyze(history)
        with history.write() as db:
            last = store.begin_run(db, "last")
        _measure_adding(history, last, scale, samples)
        return _measure_reading(history, last, folder, samples)


def _require_empty(history: History) -> None:
    with history.read() as db:
        if db.scalar(select(func.count()).select_from(schema.run)):
            name = history.engine.url.render_as_string(hide_password=True)
            hint = "name an empty database: the bench fills it with made-up nights"
            raise SetupError(f"the history {name} has runs", hint=hint)


def _analyze(history: History) -> None:
    """Do what a PostgreSQL server does by itself within a minute."""
    if history.engine.dialect.name != "sqlite":
        with history.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as raw:
            raw.execute(text("ANALYZE"))


def _measure_adding(history: History, last: int, scale: Scale, samples: Samples) -> None:
    with history.write() as db:
        clock = Clock.of(db, samples)
        for cell in last_night(scale):
            clock.measure(HISTORY_ADD, partial(store.record_cell, db, last, *cell), 1)


def _measure_reading(history: History, last: int, folder: Path, samples: Samples) -> list[Finding]:
    with history.read() as db:
        clock = Clock.of(db, samples)
        found = clock.measure(HISTORY_CLASSES, lambda: classify(db, last))
        clock.measure(HISTORY_NIGHTS, lambda: queries.night(db, last))
        lane, tests = _one_lane(found)
        clock.measure(HISTORY_STRIPS, lambda: queries.strips(db, lane, tests))
        clock.measure(HISTORY_TEST, lambda: queries.past(db, lane, tests[0]))
        clock.measure(HISTORY_CHANGES, lambda: acceptance.pending(db))
        clock.measure(HISTORY_PRUNE, lambda: stored_cells(db))
        night = Night(
            name="last",
            folder=folder,
            matrix="nightly",
            started="2026-11-30T01:00:00+00:00",
            seconds=1.0,
            findings=tuple(found),
        )
        clock.measure(HISTORY_PAGE, lambda: write_pages(folder, index(read_night(history, night))))
    return found


def _one_lane(found: Iterable[Finding]) -> tuple[int, list[str]]:
    """Return a lane, and the tests of it in which something was found."""
    first, *_ = found
    return first.lane_id, [each.test for each in found if each.lane_id == first.lane_id]
