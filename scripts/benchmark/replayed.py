# SPDX-License-Identifier: GPL-2.0
"""A pytest plugin whose tests do not run: a worker sends the recorded reports of each instead.

The process that starts pytest names the record, and by how much it is faster than the run was, in
the environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmark.record import Record
from testbed.results.model import Case, Status
from testbed.suite.carried import attach

RECORD = "TESTBED_BENCH_RECORD"
FASTER = "TESTBED_BENCH_FASTER"  # 0: the recorded seconds do not pass


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # pytest asks the plugin first that was registered last: this one precedes the testbed's own.
    faster = float(os.environ[FASTER])
    config.pluginmanager.register(Replayer(Record(Path(os.environ[RECORD])), faster))


@dataclass(eq=False)  # pytest puts its plugins into sets
class Replayer:
    """Replays the tests that have a recorded case, and drops the others."""

    record: Record
    faster: float
    _tests: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._tests = self.record.tests()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._tests]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool:
        hooks = item.ihook
        hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        found = self.record.of(item.nodeid)
        if self.faster:
            time.sleep(found.case.seconds / self.faster)
        reports = list(reports_of(item, found.case))
        attach(reports[-1], found)
        for report in reports:
            hooks.pytest_runtest_logreport(report=report)
        hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def reports_of(item: pytest.Item, case: Case) -> Iterator[pytest.TestReport]:
    """Yield the reports that pytest made when the case was recorded, nearly."""
    yield _report(item, "setup")
    call = _report(item, "call")
    if case.status is Status.SKIP:
        call.outcome, call.longrepr = "skipped", (item.location[0], 1, f"Skipped: {case.reason}")
    elif case.status is Status.XFAIL:
        call.outcome, call.longrepr = "skipped", case.reason
        call.wasxfail = case.reason
    elif not case.status.as_expected:
        call.outcome, call.longrepr = "failed", f"{case.reason}\n{case.evidence}"
    yield call
    yield _report(item, "teardown")


def _report(item: pytest.Item, when: str) -> pytest.TestReport:
    call = pytest.CallInfo.from_call(lambda: None, when)  # type: ignore[arg-type]
    return pytest.TestReport.from_item_and_call(item, call)
