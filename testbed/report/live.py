# SPDX-License-Identifier: GPL-2.0
"""The report of a run while it runs: the first failures with their evidence, and a table.

The first cases of different reasons are shown with all evidence, some further ones in a line each.
After that only their number is shown: a broken kernel must not flood the screen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from testbed.report.run import Tally, brief, failure, kind
from testbed.results.model import Case, Status
from testbed.terminal import plain

# So many reasons are shown with all evidence.
_IN_FULL = 5

# So many unexpected cases are shown at all; then their number, each time that it has doubled.
_SHOWN = 25

# The lines of a terminal that the table leaves to its head, the bars, and some of what was printed.
_REST_OF_SCREEN = 8


@dataclass
class LiveReport:
    """Shows each case of a run as it ends. One thread may add cases while another draws them."""

    console: Console
    cases: list[Case] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # tests whose evidence was shown in full
    _tally: Tally = field(default_factory=Tally)
    _kinds: set[tuple[Status, str]] = field(default_factory=set)
    _unexpected: int = 0
    _next_count: int = 2 * _SHOWN
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin_with(self, cases: Iterable[Case]) -> None:
        """Count cases of an earlier part of the run. The final report shows their evidence."""
        for case in cases:
            self._count(case)

    def add(self, case: Case) -> None:
        """Count a case that has ended, and show it if it is unexpected."""
        self._count(case)
        if not case.status.as_expected:
            self._show(case)

    def table(self) -> Table | None:
        """Return the table of the cases so far, as high as the terminal; None before the first."""
        with self._lock:
            if not self.cases:
                return None
            return self._tally.table(self.console.height - _REST_OF_SCREEN)

    def _count(self, case: Case) -> None:
        with self._lock:
            self.cases.append(case)
            self._tally.add(case)

    def _show(self, case: Case) -> None:
        self._unexpected += 1
        is_new = kind(case) not in self._kinds
        self._kinds.add(kind(case))
        if is_new and len(self.seen) < _IN_FULL:
            self.seen.add(case.test)
            self.console.print(failure(case), soft_wrap=True)
        elif self._unexpected <= _SHOWN:
            # If no guest comes up, each test has the same reason.
            if is_new or case.status is not Status.MISS:
                self.console.print(brief(case), soft_wrap=True)
        elif self._unexpected == self._next_count:
            self._next_count *= 2
            plain(self.console, f"... {self._unexpected} unexpected results so far")
