# SPDX-License-Identifier: GPL-2.0
"""Builds the kernel of a commit, and runs the tests on it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from testbed.bisect.fingerprint import fingerprint
from testbed.bisect.history import History
from testbed.bisect.search import Built, read_often, run_of_no_kernel
from testbed.bisect.symptom import Reading, Symptom, read
from testbed.context import Context
from testbed.errors import InfraError, SetupError, TreeError
from testbed.kernel.series import Series
from testbed.kernel.version import require_supported, version_of_makefile
from testbed.lab.lab import Lab
from testbed.results.model import Run, Status
from testbed.suite.runner import run_suite


@dataclass
class KernelTester:
    """Builds and tests kernels, on the first architecture of the settings."""

    ctx: Context
    tests: str  # as pytest -k
    folder: Path  # for the results of the runs

    def build(self, series: Series) -> Built:
        with closing(self._lab(series, self.folder)) as lab:
            prepared = lab.prepared(self.ctx.settings.arch[0])
            name = fingerprint(prepared.kernel, prepared.guest_side)
            return Built(prepared.kernel.release, name)

    def run(self, series: Series, name: str) -> Run:
        """Run the tests; retry once if the host failed."""
        run = self._run_once(series, self.folder / name)
        if _host_failure(run):
            self.ctx.progress.note(f"the host failed, trying once more: {_host_failure(run)}")
            run = self._run_once(series, self.folder / name)
        if reason := _host_failure(run):
            raise InfraError(f"the host failed twice: {reason}", logs=(self.folder / name,))
        return run

    def _run_once(self, series: Series, results: Path) -> Run:
        with closing(self._lab(series, results)) as lab:
            return run_suite(lab, self.tests, lists_hooks=False)

    def _lab(self, series: Series, results: Path) -> Lab:
        return Lab.for_kernel(self.ctx, series, self.ctx.settings.arch[0], results)


@dataclass
class CommitOracle:
    """The oracle for commits of a kernel tree, checked out in the testbed's own repository."""

    tester: KernelTester
    history: History

    def build(self, commit: str) -> Built:
        self._require_kernel(commit)
        self.history.check_out(commit)
        return self.tester.build(Series())

    def run(self, commit: str) -> Run:
        return self.tester.run(Series(), commit[:12])

    def _require_kernel(self, commit: str) -> None:
        """Refuse a commit that is not a kernel, or too old: a history may contain such commits."""
        version = version_of_makefile(self.history.file(commit, "Makefile"))
        if version is None:
            raise TreeError("the commit is not a kernel tree")
        try:
            require_supported(version, "the commit")
        except SetupError as exc:
            raise TreeError(exc.message) from exc


@dataclass
class SeriesOracle:
    """The oracle for a series: a commit stands for the base with all patches up to its own."""

    tester: KernelTester
    history: History
    series: Series

    def build(self, commit: str) -> Built:
        return self.tester.build(self._up_to(commit))

    def run(self, commit: str) -> Run:
        return self.tester.run(self._up_to(commit), f"{self.history.numbers[commit]:03}-patches")

    def _up_to(self, commit: str) -> Series:
        return Series(self.series.patches[: self.history.numbers[commit]])


def judge(tester: KernelTester, series: Series, pattern: str, repeat: int) -> Reading:
    """Return whether one kernel shows the symptom. Without a pattern, any failed test is one."""
    symptom = Symptom(pattern=pattern or f"^{Status.FAIL} ")
    try:
        tester.build(series)
    except TreeError as error:
        return read(run_of_no_kernel(error), symptom)
    return read_often(lambda: tester.run(series, "step"), symptom, repeat)


def _host_failure(run: Run) -> str:
    """Return why a test did not run if the host is to blame; else an empty string."""
    return next((case.reason for case in run.cases if case.raised(InfraError)), "")
