# SPDX-License-Identifier: GPL-2.0
"""How long the tests of a run take: the shipped seconds, corrected by the last run on this host."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from testbed.pace import Pace
from testbed.settings import Isolation, Settings
from testbed.suite.orderdata import Seconds, load_seconds

# The processor's time of a case, in the seconds that are shipped for it. Measured with TCG.
_SHIPPED = {
    Isolation.BATCH: 0.65,
    Isolation.SHARED: 0.6,
    Isolation.CLONE: 3.0,
    Isolation.BOOT: 8.0,
}

# The time of a shorter run is mostly that of its start.
_LONG = 60.0  # shipped seconds


@dataclass
class Estimate:
    """Follows the tests of one run."""

    pace: Pace
    workers: int
    total: float = 0.0  # shipped seconds of all tests
    done: float = 0.0  # and of those that have ended
    _shipped: Seconds = field(default_factory=load_seconds)
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, settings: Settings, workers: int) -> Estimate:
        """Return the estimate for a run with these settings, whose tests are not yet known."""
        work = f"tests {settings.isolation} {settings.flavour} {','.join(settings.arch)}"
        return cls(Pace.of(settings, work, _SHIPPED[settings.isolation]), workers)

    def begin(self, tests: Iterable[str]) -> float:
        """Begin with these tests, by their node ids. Return the seconds that they may take."""
        self.total = sum(map(self._shipped.of, tests))
        self._began = time.monotonic()
        return self.total * self.pace.read() / self.workers

    def end(self, test: str) -> None:
        """Note that a test has ended."""
        self.done += self._shipped.of(test)

    def keep(self) -> None:
        """After the last test: keep the pace for the next run, if this one was long enough."""
        if self.total >= _LONG:
            self.pace.keep((time.monotonic() - self._began) * self.workers / self.total)
