# SPDX-License-Identifier: GPL-2.0
"""Whole test sessions, each a separate process: the time per test, by isolation."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.figures import Samples
from benchmark.quantities import (
    BOOTS,
    CLONES,
    PARALLEL,
    SHARED,
    Quantity,
)
from testbed.deadline import Deadline
from testbed.process import run
from testbed.results.model import Status
from testbed.results.store import read_run
from testbed.settings import CHECKOUT, Isolation
from testbed.suite.runner import CONTRACT_TESTS

# As pytest -k.
FEW = "test_selection.py"
SOME = f"{FEW} or (test_descriptor.py and (direct or stack-first or custom))"
ALL = ""
ONE = "test_no_hook_is_refused_without_a_warning"

_PATIENCE = 21_600.0  # seconds for one session of all tests, with a boot for each


@dataclass(frozen=True)
class Way:
    """The way in which the tests of a session get their guests."""

    quantity: Quantity
    isolation: Isolation
    workers: str = "0"  # as pytest-xdist's -n


WAYS = (
    Way(SHARED, Isolation.SHARED),
    Way(CLONES, Isolation.CLONE),
    Way(PARALLEL, Isolation.CLONE, "auto"),
    Way(BOOTS, Isolation.BOOT),
)


@dataclass(frozen=True)
class Timed:
    """The duration of a session, and its number of tests without skipped ones."""

    seconds: float
    tests: int


@dataclass(frozen=True)
class Sessions:
    """Sessions on one architecture."""

    arch: str
    kernel: str
    tests: str  # as pytest -k; empty: all
    samples: Samples

    def warm_up(self) -> None:
        """Build what is missing, and save the template."""
        self._pytest(ONE, WAYS[1])

    def measure(self, way: Way) -> None:
        """Measure the time per further test, without the start and the end of a session."""
        one, many = self._pytest(ONE, way), self._pytest(self.tests, way)
        self.samples.add(self.arch, way.quantity, further(one, many))

    def _pytest(self, tests: str, way: Way) -> Timed:
        words = ["pytest", "-q", str(CONTRACT_TESTS), "-p", "no:cacheprovider"]
        words += ["--isolation", way.isolation, "-n", way.workers]
        return timed([*words, "--arch", self.arch, "--kernel", self.kernel], tests)


def further(one: Timed, many: Timed) -> float:
    """Return the seconds that each test after the first took."""
    return (many.seconds - one.seconds) / (many.tests - one.tests)


def timed(words: Sequence[str], tests: str) -> Timed:
    """Run and time a command of the checkout that runs some tests.

    Raises:
        CommandError: a test failed, so that the time would mean something else.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        program = str(Path(sys.executable).with_name(words[0]))
        argv = [program, *words[1:], "--results", name]
        argv += ["-k", tests] if tests else []
        began = time.monotonic()
        run(argv, cwd=CHECKOUT, log=folder / "out", deadline=Deadline.after(_PATIENCE))
        seconds = time.monotonic() - began
        cases = read_run(folder / "latest").cases
    return Timed(seconds, sum(case.status is not Status.SKIP for case in cases))
