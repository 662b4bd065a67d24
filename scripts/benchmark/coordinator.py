# SPDX-License-Identifier: GPL-2.0
"""A run whose workers replay recorded cases: `python -P -m benchmark.coordinator ORDER`.

This process is the coordinator of `testbed run` as it is: pytest with its workers, the queue of
batches, the files of the run, and the live table on a terminal that nobody sees. It needs neither
kernel nor VM.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections import Counter
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmark.profiles import Profile, profiled
from testbed.context import Context
from testbed.errors import TreeError
from testbed.kernel.series import Series
from testbed.lab.lab import Handover, Lab
from testbed.report.live import LiveReport
from testbed.results.model import Case
from testbed.settings import Settings
from testbed.suite.collected import read_collected
from testbed.suite.runner import run_suite
from testbed.terminal import growing, make_progress


@dataclass(frozen=True)
class Order:
    """What the process is to do."""

    arches: list[str]
    workers: int
    folder: str  # of the results, and of the answer
    profile: bool = False

    @property
    def answer(self) -> Path:
        return Path(self.folder) / "coordinated.json"


@dataclass(frozen=True)
class Coordinated:
    """What a coordinator did. Seconds are wall time, or of this process's CPU time."""

    cases: int
    seconds: float  # from the first case to the last
    cpu: float  # in the same time
    start_cpu: float  # before the first case
    end_seconds: float  # after the last case
    by_file: dict[str, float]  # CPU seconds from the first case to the last, if it was profiled

    @property
    def cpu_each(self) -> float:
        """The CPU seconds for each case."""
        return self.cpu / max(1, self.cases - 1)

    @property
    def wall_each(self) -> float:
        """The seconds for each case."""
        return self.seconds / max(1, self.cases - 1)


class _Roomy(Settings):
    """Settings for workers without VMs, which any host has memory for."""

    def worker_count(self, mib: int) -> int:
        return self.workers


@dataclass
class _Clock:
    """Notes when cases arrive, and shows them."""

    live: LiveReport
    lab: Lab
    profile: Profile | None
    total: int = 0  # cases to come
    cases: int = 0
    first: tuple[float, float] = (0.0, 0.0)
    last: tuple[float, float] = (0.0, 0.0)
    by_file: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case) -> None:
        self.live.add(case)
        self.last = time.monotonic(), time.process_time()
        self.first = self.first if self.cases else self.last
        self.cases += 1
        self.total = self.total or len(read_collected(self.lab.run_dir).batch_of)
        if self.profile is not None and self.cases in (1, self.total):
            now = self.profile.by_file()
            now.subtract(self.by_file)
            self.by_file = now


def coordinate(order: Order) -> Coordinated:
    """Run the tests that the record has."""
    with open(os.devnull, "w") as nowhere:
        console = Console(file=nowhere, force_terminal=True, width=120, height=50)
        folder = Path(order.folder)
        settings = _Roomy(
            arch=tuple(order.arches),
            workers=order.workers,
            results_dir=folder,
            state_dir=folder / "state",  # a replay says nothing about the pace of this host
        )
        lab = Lab(Context.of(settings, make_progress(console)), Series())
        # A kernel that does not build: no test needs one here.
        absent = Handover(TreeError("the run is replayed"), None, 0)
        lab.adopt(dict.fromkeys(order.arches, absent))
        live = LiveReport(console)
        with (
            closing(lab),
            profiled() if order.profile else nullcontext() as profile,
            growing(lab.ctx.progress, live.table),
        ):
            clock = _Clock(live, lab, profile)
            run_suite(lab, None, seed=0, listener=clock.add)
        return Coordinated(
            clock.cases,
            clock.last[0] - clock.first[0],
            clock.last[1] - clock.first[1],
            clock.first[1],
            time.monotonic() - clock.last[0],
            dict(clock.by_file.most_common()),
        )


def main(text: str) -> None:
    """Do what an order in JSON says."""
    order = Order(**json.loads(text))
    order.answer.write_text(json.dumps(dataclasses.asdict(coordinate(order))))


if __name__ == "__main__":
    # Workers get the settings as a pickle, which names this module.
    from benchmark import coordinator

    coordinator.main(sys.argv[1])
