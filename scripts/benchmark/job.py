# SPDX-License-Identifier: GPL-2.0
"""The main job: `testbed run` as a user runs it, whole, quick, and by isolation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.commands import Spent, command_words, spent, with_plugin
from benchmark.figures import Samples
from benchmark.quantities import (
    DIFFERING,
    IN_BATCHES,
    IN_CLONES,
    QUICK,
    RUN,
    RUN_CPU,
    SHARE,
)
from benchmark.sampled import SAMPLE
from benchmark.sessions import ONE
from testbed.deadline import Deadline
from testbed.report.diff import Change, Side, compare
from testbed.results.store import read_facts, read_run
from testbed.settings import Isolation

_PATIENCE = 6 * 3600.0  # seconds for one run

# One scenario in so many is in the sample.
_ONE_IN = 8

# Runs in batches that are compared with one run with clones. Each has an order of its own.
_ORDERS = (1, 2, 3)

_SHOWN = 20  # differences


@dataclass
class MainJob:
    """Runs on some architectures. All kernels and templates exist after `warm_up`."""

    arches: Sequence[str]
    kernel: str
    results: Path  # for the whole run
    samples: Samples
    notes: list[str]

    def warm_up(self) -> None:
        """Build what is missing, and save the templates."""
        with _folder() as name:
            self._run(Path(name), "-k", ONE)

    def whole(self) -> None:
        """Measure a run of all cases. Its results stay, for a replay."""
        found = self._run(self.results)
        cases = len(read_run(self.results / "latest").cases)
        self.samples.add(self._shown, RUN, found.wall)
        self.samples.add(self._shown, RUN_CPU, found.cpu / cases)

    def quick(self) -> None:
        """Measure a first answer."""
        with _folder() as name:
            self.samples.add(self._shown, QUICK, self._run(Path(name), "--quick").wall)

    def isolations(self, seed: str, *, whole: bool) -> None:
        """Measure one run with a clone for each case, and runs in batches; compare their results.

        `seed` chooses the sample of the cases.
        """
        one_in = 1 if whole else _ONE_IN
        env = with_plugin("benchmark.sampled", **{SAMPLE: f"{one_in} {seed}"})
        with _folder() as base:
            clones = self._run(Path(base), "--isolation", Isolation.CLONE, env=env).wall
            self.samples.add(self._shown, IN_CLONES, clones)
            for order in _ORDERS:
                with _folder() as new:
                    words = ("--isolation", Isolation.BATCH, "--seed", str(order))
                    batches = self._run(Path(new), *words, env=env).wall
                    self.samples.add(self._shown, IN_BATCHES, batches)
                    self.samples.add(self._shown, SHARE, batches / clones)
                    self._compare(Path(base), Path(new))

    def _compare(self, base: Path, new: Path) -> None:
        found = compare(_side("clones", base), _side("batches", new))
        self.samples.add(self._shown, DIFFERING, len(found.changes))
        self.notes += [change_line(change) for change in found.changes[:_SHOWN]]

    @property
    def _shown(self) -> str:
        return ",".join(self.arches)

    def _run(self, results: Path, *words: str, **options: Any) -> Spent:
        """Run tests.

        Raises:
            CommandError: a test failed, so that the time would mean something else.
        """
        with _folder() as logs:
            argv = [*command_words("run", self.arches, self.kernel), *words]
            argv += ["--results", str(results)]
            deadline = Deadline.after(_PATIENCE)
            return spent(argv, log=Path(logs) / "out", deadline=deadline, **options)


def change_line(change: Change) -> str:
    """Return one line on a case that differs between clones and batches."""
    facts = ", ".join(f"{each.where}: {each.base} -> {each.new}" for each in change.facts[:3])
    return f"{change.test}: {change.kind}: {change.base} -> {change.new} {facts}".rstrip()


def _side(name: str, results: Path) -> Side:
    return Side(name, read_run(results / "latest"), read_facts(results / "latest"))


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
