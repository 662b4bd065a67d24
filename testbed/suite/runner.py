# SPDX-License-Identifier: GPL-2.0
"""Runs the VM tests in this process and returns their results: `testbed run`."""

from __future__ import annotations

import contextlib
import io
import secrets
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import pytest

from testbed.errors import InfraError, SetupError
from testbed.lab.lab import Lab
from testbed.progress import Step
from testbed.results.model import Case, Run
from testbed.settings import CHECKOUT, available_mib
from testbed.suite.estimate import Estimate
from testbed.suite.plugin import LAB, RECORDER
from testbed.suite.recorder import Recorder
from testbed.suite.selection import SELECTION, Sample, Selection

# `testbed run` runs the tests of the kernel, without the tests of the testbed itself.
CONTRACT_TESTS = CHECKOUT / "tests" / "vm" / "contract"


_ENDS = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.INTERRUPTED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


@dataclass(eq=False)  # pytest puts its plugins into sets
class RunnerPlugin:
    """A pytest plugin that passes its lab to the session, and reports progress instead of dots."""

    lab: Lab
    step: Step
    selection: Selection
    estimate: Estimate
    listener: Callable[[Case], None] | None = None
    before: Sequence[Case] = ()
    lists_hooks: bool = True
    failed: bool = False
    trouble: list[str] = field(default_factory=list)
    recorder: Recorder | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[LAB], config.stash[SELECTION] = self.lab, self.selection

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.recorder = session.config.stash[RECORDER]
        self.recorder.command = shlex.join(["testbed", *sys.argv[1:]])
        self.recorder.cases.extend(self.before)
        self.recorder.listener = self.listener
        self.recorder.seed = self.selection.seed
        self.recorder.lists_hooks = self.lists_hooks

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble.append(report.longreprtext)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._begin([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if not self.estimate.total:  # each worker collects the same tests
            self._begin(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # With workers, pytest then ends as if it were interrupted.
        self.failed |= report.failed

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.step.update(self.estimate.done, note=nodeid.rpartition("::")[2])

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.estimate.end(nodeid)
        self.step.update(self.estimate.done)

    def _begin(self, tests: Sequence[str]) -> None:
        seconds = self.estimate.begin(tests)
        self.step.update(0, total=self.estimate.total, seconds=seconds)


def pytest_arguments(expression: str | None, workers: int) -> list[str]:
    """Return the arguments of the pytest session."""
    arguments = [str(CONTRACT_TESTS), f"--rootdir={CHECKOUT}", "-c", f"{CHECKOUT}/pyproject.toml"]
    arguments += ["-p", "no:terminal", "-p", "no:cacheprovider", "-o", "addopts="]
    arguments += ["-k", expression] if expression else []
    return [*arguments, "-n", str(workers)] if workers > 1 else arguments


def run_suite(
    lab: Lab,
    expression: str | None,
    *,
    keep: bool = False,
    stop_early: bool = False,
    first: Sequence[str] = (),
    seed: int | None = None,
    quick: bool = False,
    listener: Callable[[Case], None] | None = None,
    done: Collection[str] = (),
    before: Sequence[Case] = (),
    lists_hooks: bool = True,
    sample: Sample | None = None,
    plugins: Sequence[object] = (),
    workers: int | None = None,
) -> Run:
    """Run the tests on every prepared kernel, and write the folder of the run.

    Args:
        expression: selects tests, as pytest -k.
        keep: keep the VM of a failed test until the user presses Enter.
        stop_early: stop after the first unexpected result.
        first: node ids of the tests to run first; the others follow as order.py says.
        seed: of the order of the tests, and of the sample that runs again alone; default: random.
        quick: run only the tests of a first answer.
        listener: is called with each case when it ends.
        done: node ids of tests that are not run again.
        before: cases of an earlier part of this run; the run has them too.
        lists_hooks: whether the folder gets the table of the kernel's hooks.
        sample: the part of the tests to run; default: all.
        plugins: more plugins of the pytest session. They see only tests of this process.
        workers: processes that run tests; default: as the settings say.

    Raises:
        SetupError: the host lacks something, or `expression` matches no test.
        InfraError: the host failed before the first test.
        KeyboardInterrupt: after it wrote the results so far.
    """
    late = lab.prepare_ready()
    lab.make_templates()
    workers = 1 if keep else workers or lab.ctx.settings.worker_count(available_mib())
    arguments = pytest_arguments(expression, workers)
    arguments += ["--keep"] if keep else []
    arguments += ["--exitfirst"] if stop_early else []
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    selection = Selection(seed, first, frozenset(done), quick, late, sample or Sample())
    with lab.ctx.progress.step("test") as step:
        estimate = Estimate.of(lab.ctx.settings, workers)
        session = RunnerPlugin(
            lab, step, selection, estimate, listener, before, lists_hooks=lists_hooks
        )
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            status = pytest.main(arguments, plugins=[session, *plugins])
        if session.recorder is not None and session.recorder.broken is not None:
            raise session.recorder.broken
        # pytest also reports INTERRUPTED if it cannot collect tests.
        if session.trouble or status not in _ENDS:
            evidence = "\n".join([*session.trouble, stderr.getvalue()])
            raise InfraError("pytest failed", evidence=evidence)
        stopped = stop_early and session.failed
        if status is pytest.ExitCode.INTERRUPTED and not stopped:
            raise KeyboardInterrupt
        if status is pytest.ExitCode.NO_TESTS_COLLECTED and not before:
            raise SetupError(f"no test matches -k {expression!r}")
    if not (late or session.failed):  # otherwise other work took a part of the time
        estimate.keep()
    assert session.recorder is not None
    return session.recorder.run()
