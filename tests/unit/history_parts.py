# SPDX-License-Identifier: GPL-2.0
"""A made-up history: nights of one lane, each written as statuses of tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from result_parts import environment

from testbed.history import store
from testbed.history.classify import classify
from testbed.history.database import History
from testbed.history.records import CellRecord, CellState, Finding, Lane
from testbed.results.model import Attempt, Case, Facts, Run, Status

LANE = Lane(matrix="nightly", stream="debian:7.3", arch="x86_64", isolation="clone")

FAIL, PASS, MISS, SKIP = Status.FAIL, Status.PASS, Status.MISS, Status.SKIP
XFAIL, FIXED, ERROR = Status.XFAIL, Status.FIXED, Status.ERROR


def case(
    test: str,
    status: Status = PASS,
    reason: str = "",
    *,
    error: str = "",
    tries: Sequence[Attempt] = (),
) -> Case:
    """A case; a bad one gets a reason."""
    words = reason or ("pgoff is 0x0, not 0x1" if status in (FAIL, ERROR) else "")
    return Case(
        test=test,
        arch=LANE.arch,
        path="direct",
        status=status,
        error=error,
        reason=words,
        seconds=1.5,
        attempts=tuple(tries),
    )


@dataclass
class Nights:
    """Records nights, one cell each, and classifies them."""

    history: History
    lane: Lane = LANE
    runs: list[int] = field(default_factory=list)

    def add(
        self,
        *cases: Case,
        content: str = "",
        facts: Facts | None = None,
        lane: Lane | None = None,
        partial: bool = False,
        same_night: bool = False,
        kernel: str = "",
    ) -> int:
        """Record a cell, in a night of its own unless it is the same night. Return its id."""
        with self.history.write() as db:
            if not same_night:
                name = f"night-{len(self.runs) + 1}"
                self.runs.append(store.begin_run(db, name, matrix="nightly"))
            number = len(self.runs)
            where = lane or self.lane
            its = dataclasses.replace(
                environment(where.arch), kernel=kernel or f"7.3.{number}", isolation=where.isolation
            )
            run = Run(name="r", command="c", started="s", environments=(its,), cases=cases)
            record = CellRecord(
                content=content or f"content-{number}-{len(cases)}",
                run=run,
                facts=facts or {},
                partial=partial,
                artifact=f"artifact-{number}",
            )
            return store.record_cell(db, self.runs[-1], where, record).cell

    def add_statuses(self, *nights: Mapping[str, Status]) -> None:
        """Record several nights, each given as the statuses of its tests."""
        for statuses in nights:
            self.add(*(case(test, status) for test, status in statuses.items()))

    def add_known(self, content: str) -> None:
        """Record a night whose cell was not run."""
        with self.history.write() as db:
            self.runs.append(store.begin_run(db, f"night-{len(self.runs) + 1}"))
            store.record_without_results(
                db, self.runs[-1], self.lane, content=content, state=CellState.KNOWN, reason=""
            )

    def findings(self, night: int = -1, window: int = 20) -> list[Finding]:
        with self.history.read() as db:
            return classify(db, self.runs[night], window)

    def only(self) -> Finding:
        """The finding of the last night, which has one."""
        (found,) = self.findings()
        return found

    def kinds(self) -> dict[str, str]:
        """The class of each test in the last night."""
        return {found.test: found.kind for found in self.findings()}
