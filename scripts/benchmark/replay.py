# SPDX-License-Identifier: GPL-2.0
"""The coordinator of many workers: a recorded run is replayed, so that the workers cost little."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from benchmark.commands import with_plugin
from benchmark.coordinator import Coordinated, Order
from benchmark.cycles import scratch
from benchmark.figures import Samples
from benchmark.quantities import REPLAY_CPU, REPLAY_END, REPLAY_RATE, REPLAY_START, REPLAY_WALL
from benchmark.record import write_record
from benchmark.replayed import FASTER, RECORD
from testbed.deadline import Deadline
from testbed.errors import SetupError
from testbed.process import run
from testbed.results.store import read_cases, read_facts

WORKERS = 16

_PATIENCE = 1800.0  # seconds for one replay

_FILES = 12  # of the profile


def replay(
    recorded: Path, rounds: int, samples: Samples, notes: list[str], faster: float = 0
) -> None:
    """Replay the cases in the folder of a run, and once more with a profile.

    A case takes its recorded seconds divided by `faster`; with 0 they do not pass.

    Raises:
        SetupError: the folder has no more than one case.
    """
    cases = read_cases(recorded)
    if len(cases) < 2:
        hint = "run all tests with `testbed run`, or name the folder of a run with --record"
        raise SetupError(f"there are no recorded cases in {recorded}", hint=hint)
    arches = sorted({case.arch for case in cases})
    with scratch() as folder:
        record = folder / "record.sqlite"
        write_record(record, cases, read_facts(recorded))
        for _ in range(rounds):
            add(samples, ",".join(arches), _coordinate(record, arches, faster))
        found = _coordinate(record, arches, faster, profile=True)
    missing = len({case.test for case in cases}) - found.cases
    if missing:
        notes.append(f"{missing} recorded cases were not replayed: their tests are gone")
    notes += profile_lines(found)


def add(samples: Samples, shown: str, found: Coordinated) -> None:
    """Add the figures of one replay."""
    samples.add(shown, REPLAY_CPU, found.cpu_each)
    samples.add(shown, REPLAY_WALL, found.wall_each)
    samples.add(shown, REPLAY_RATE, 1 / found.wall_each)
    samples.add(shown, REPLAY_START, found.start_cpu)
    samples.add(shown, REPLAY_END, found.end_seconds)


def profile_lines(found: Coordinated) -> list[str]:
    """Return lines on what the coordinator spends its time on, by file."""
    total = sum(found.by_file.values())
    most = sorted(found.by_file.items(), key=lambda each: -each[1])[:_FILES]
    lines = [f"  {100 * seconds / total:4.1f} % {file}" for file, seconds in most]
    return ["CPU time of the coordinator, by file:", *lines]


def _coordinate(
    record: Path, arches: list[str], faster: float, *, profile: bool = False
) -> Coordinated:
    with scratch() as folder:
        order = Order(arches, WORKERS, str(folder), profile)
        argv = [sys.executable, "-P", "-m", "benchmark.coordinator"]
        run(
            [*argv, json.dumps(dataclasses.asdict(order))],
            env=_replaying(record, faster),
            log=folder / "out",
            deadline=Deadline.after(_PATIENCE),
        )
        return Coordinated(**json.loads(order.answer.read_text()))


def _replaying(record: Path, faster: float) -> dict[str, str]:
    """Return the variables with which the tests of all pytest processes are replayed."""
    return {
        **with_plugin("benchmark.replayed"),
        RECORD: str(record),
        FASTER: str(faster),
        "TERM": "xterm",  # a dumb terminal has no live table
    }
