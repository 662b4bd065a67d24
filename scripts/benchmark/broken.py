# SPDX-License-Identifier: GPL-2.0
"""Known-bad kernels: how soon a run reports the first failure, and what a killed one costs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmark.commands import command_words
from benchmark.cycles import scratch
from benchmark.figures import Samples
from benchmark.quantities import FIRST_FAILURE, KILLED
from testbed.cache import digest
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import TreeError
from testbed.kernel.series import Series, load_series
from testbed.lab.lab import Lab
from testbed.mutants.mutation import MUTANTS, Fate, Mutation, load_mutations
from testbed.mutants.trial import BUILD_DIR, PASSING
from testbed.process import run, spawn

# Seconds between two looks at the output of a run.
_LOOK = 0.05

# A failure as testbed/report/live.py shows it.
_FAILURE = re.compile(r"^FAIL \S+::", re.M)

_PATIENCE = 12 * 3600.0  # seconds for a campaign

# 0: all are killed; 1: one survived; 3: the host failed on one.
_ENDS = (0, 1, 3)


@dataclass
class BrokenKernels:
    """Runs on known-bad kernels. A seed chooses the mutations."""

    ctx: Context
    samples: Samples
    notes: list[str]
    seed: str

    def first_failures(self, count: int) -> None:
        """Measure the first failure of `count` kernels, which are built before."""
        measured = 0
        for mutation in in_order(load_mutations(MUTANTS), self._arches, self.seed):
            if measured == count:
                break
            with self.ctx.progress.step(f"first failure: {mutation.name}"):
                measured += self._first_failure(mutation)

    def kills(self, count: int, *, quick: bool) -> None:
        """Measure the killed ones of a campaign with `count` mutations."""
        settings = self.ctx.settings
        with scratch() as folder, self.ctx.progress.step("testbed mutants"):
            argv = command_words("mutants", settings.arch, settings.kernel)
            argv += ["--sample", str(count), "--seed", self.seed, "--fresh", "--json"]
            argv += ["--results", str(folder), *(["--quick"] if quick else [])]
            found = run(argv, ok=_ENDS, deadline=Deadline.after(_PATIENCE)).stdout
        for arch, seconds in beyond_build(json.loads(found)):
            self.samples.add(arch, KILLED, seconds)

    @property
    def _arches(self) -> Sequence[str]:
        return self.ctx.settings.arch

    def _first_failure(self, mutation: Mutation) -> bool:
        """Build a kernel for each architecture, and run the tests on all. Whether that worked."""
        series = load_series(str(mutation.path))
        with scratch() as folder, self.ctx.cache.passing(*PASSING):
            try:
                for arch in self._arches:
                    self._build(arch, series, folder)
            except TreeError as error:
                self.notes.append(f"{mutation.name} is left out: {error.message}")
                return False
            argv = command_words("run", self._arches, self.ctx.settings.kernel)
            argv += ["--series", str(mutation.path), "--results", str(folder)]
            seconds, is_failed = until_failure(argv, folder / "out")
        if not is_failed:
            self.notes.append(f"{mutation.name}: no test failed in {seconds:.0f} s")
        self.samples.add(",".join(self._arches), FIRST_FAILURE, seconds)
        return True

    def _build(self, arch: str, series: Series, folder: Path) -> None:
        lab = Lab.for_kernel(self.ctx, series, arch, folder, build_dir_name=BUILD_DIR)
        with closing(lab):
            lab.prepared(arch)


def in_order(mutations: Iterable[Mutation], arches: Sequence[str], seed: str) -> list[Mutation]:
    """Return the mutations that a test can kill on all architectures, in an order from a seed."""
    usable = (
        each
        for each in mutations
        if not each.semantic
        and not each.equivalent
        and (not each.arches or set(arches) <= set(each.arches.split()))
    )
    return sorted(usable, key=lambda each: digest(seed, each.name))


def until_failure(argv: Sequence[str], log: Path) -> tuple[float, bool]:
    """Run tests until the first failure is shown. Return the seconds, and whether one was.

    If none was, these are the seconds until the end.
    """
    began = time.monotonic()
    with spawn(argv, log=log) as process:
        while True:
            has_ended = process.wait(Deadline.after(_LOOK)) is not None
            seconds = time.monotonic() - began
            is_failed = _FAILURE.search(log.read_text(errors="replace")) is not None
            if is_failed or has_ended:
                return seconds, is_failed


def beyond_build(outcomes: Iterable[dict[str, object]]) -> list[tuple[str, float]]:
    """Return the architecture of each kill by the suite, and its seconds without the build."""
    return [
        (str(each["arch"]), float(str(each["seconds"])) - float(str(each["built"])))
        for each in outcomes
        if Fate(str(each["fate"])).killed_by_suite
    ]
