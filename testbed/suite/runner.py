# SPDX-License-Identifier: GPL-2.0
"""Runs the VM tests in this process and returns their results: `testbed run`."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import pytest

from testbed.cache import digest
from testbed.errors import InfraError, SetupError, TreeError
from testbed.lab.lab import Lab
from testbed.progress import Step
from testbed.results.model import Case, Run
from testbed.results.store import JUNIT_FILE
from testbed.settings import CHECKOUT
from testbed.suite.plugin import LAB, RECORDER
from testbed.suite.recorder import Recorder, parameters

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
    first: Sequence[str] | None
    listener: Callable[[Case], None] | None = None
    done_before: Collection[str] = ()
    before: Sequence[Case] = ()
    total: int = 0
    done: int = 0
    trouble: list[str] = field(default_factory=list)
    recorder: Recorder | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[LAB] = self.lab

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.recorder = session.config.stash[RECORDER]
        self.recorder.command = shlex.join(["testbed", *sys.argv[1:]])
        self.recorder.cases.extend(self.before)
        self.recorder.listener = self.listener

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble.append(report.longreprtext)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid not in self.done_before]
        if self.first is not None:
            items[:] = quickest_first(items, self.first)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.total = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.step.update(self.done, total=self.total, note=nodeid.rpartition("::")[2])

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.done += 1
        self.step.update(self.done, total=self.total)


def quickest_first(items: Sequence[pytest.Item], first: Sequence[str]) -> list[pytest.Item]:
    """Return an order that finds failures early: tests named in `first`, then one of each test.

    Cases of one test find similar failures, neighbouring cases most of all. So a second case of a
    test runs only after one case of every test. The cases are shuffled, the same way each time.
    """
    named = {nodeid: number for number, nodeid in enumerate(first)}
    cases: Counter[str] = Counter()
    places = {}
    shuffled = sorted(items, key=lambda item: digest(item.nodeid))
    for item in shuffled:
        places[item] = (named.get(item.nodeid, len(named)), cases[_group(item)])
        cases[_group(item)] += 1
    return sorted(shuffled, key=places.__getitem__)


def _group(item: pytest.Item) -> str:
    """Return the test of a case.

    One test of the oracle covers hundreds of scenarios: there the first word of the scenario's
    name, a kind of plan, counts as well.
    """
    scenario = str(parameters(item).get("scenario", ""))
    return f"{item.nodeid.partition('[')[0]} {scenario.partition('-')[0]}"


def run_suite(
    lab: Lab,
    expression: str | None,
    *,
    keep: bool = False,
    stop_early: bool = False,
    first: Sequence[str] | None = None,
    listener: Callable[[Case], None] | None = None,
    done: Collection[str] = (),
    before: Sequence[Case] = (),
) -> Run:
    """Run the tests on every prepared kernel, and write the folder of the run.

    Args:
        expression: selects tests, as pytest -k.
        keep: keep the VM of a failed test until the user presses Enter.
        stop_early: stop after the first unexpected result.
        first: node ids of the tests to run first; the others follow in `quickest_first` order.
        listener: is called with each case when it ends.
        done: node ids of tests that are not run again.
        before: cases of an earlier part of this run; the run has them too.

    Raises:
        SetupError: the host lacks something, or `expression` matches no test.
        InfraError: the host failed before the first test.
        KeyboardInterrupt: after it wrote the results so far.
    """
    for arch in lab.ctx.settings.arch:
        # A tree that does not build is a finding: the test of the build raises it again.
        with contextlib.suppress(TreeError):
            lab.prepared(arch)
    arguments = [
        str(CONTRACT_TESTS),
        f"--rootdir={CHECKOUT}",
        "-c",
        str(CHECKOUT / "pyproject.toml"),
    ]
    arguments += ["-p", "no:terminal", "-p", "no:cacheprovider", "-o", "addopts="]
    arguments += [f"--junitxml={lab.run_dir / JUNIT_FILE}"]
    arguments += ["-k", expression] if expression else []
    arguments += ["--keep"] if keep else []
    arguments += ["--exitfirst"] if stop_early else []
    with lab.ctx.progress.step("test") as step:
        session = RunnerPlugin(lab, step, first, listener, frozenset(done), before)
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            status = pytest.main(arguments, plugins=[session])
    # pytest also reports INTERRUPTED if it cannot collect tests.
    if session.trouble or status not in _ENDS:
        evidence = "\n".join([*session.trouble, stderr.getvalue()])
        raise InfraError("pytest failed", evidence=evidence)
    if status is pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status is pytest.ExitCode.NO_TESTS_COLLECTED:
        raise SetupError(f"no test matches -k {expression!r}")
    assert session.recorder is not None
    return session.recorder.run()
