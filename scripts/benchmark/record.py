# SPDX-License-Identifier: GPL-2.0
"""The recorded cases of a run, for processes that read them one by one.

Each of many workers would otherwise hold the facts of all cases in memory.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from testbed.results.model import Case, Facts
from testbed.results.store import case_from
from testbed.suite.carried import Carried


class Record:
    """Recorded cases, by test."""

    def __init__(self, file: Path) -> None:
        self._base = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)

    def tests(self) -> frozenset[str]:
        """Return the node ids of all tests that have a case."""
        return frozenset(test for (test,) in self._base.execute("select test from cases"))

    def of(self, test: str) -> Carried:
        """Return the case of a test, and the facts that its scripts saw. Raises KeyError."""
        query = "select content, facts from cases where test = ?"
        found = self._base.execute(query, (test,)).fetchone()
        if found is None:
            raise KeyError(test)
        content, facts = map(json.loads, found)
        return Carried(case_from(content), facts)


def write_record(file: Path, cases: Iterable[Case], facts: Facts) -> int:
    """Write the cases of a run. Return how many there are."""
    rows = {
        case.test: (
            case.test,
            json.dumps(dataclasses.asdict(case)),
            json.dumps(facts.get(case.test, {})),
        )
        for case in cases
    }
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("create table cases (test primary key, content, facts)")
        base.executemany("insert into cases values (?, ?, ?)", rows.values())
    return len(rows)
