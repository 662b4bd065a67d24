# SPDX-License-Identifier: GPL-2.0
"""Runs the VM tests in this process and hands back what they found: `testbed run`."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from testbed.cache import digest
from testbed.errors import InfraError, SetupError, TreeError
from testbed.lab.lab import Lab
from testbed.progress import Step
from testbed.results.model import Run
from testbed.results.store import JUNIT_FILE
from testbed.settings import CHECKOUT
from testbed.suite.plugin import LAB, RECORDER
from testbed.suite.recorder import Recorder, parameters

# What `testbed run` runs: the tests of the kernel, not those of the testbed itself.
CONTRACT_TESTS = CHECKOUT / "tests" / "vm" / "contract"


_ENDS = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.INTERRUPTED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


@dataclass(eq=False)  # pytest puts its plugins into sets
class RunnerPlugin:
    """A pytest plugin: lends its lab to the session and reports progress instead of dots."""

    lab: Lab
    step: Step
    first: Sequence[str] | None
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

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble.append(report.longreprtext)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
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
    """An order that soon meets what is wrong: the tests named, then one case of each other test.

    Cases of one test find much the same, and neighbours most of all: the second ones come when
    all first ones have run, and which is the first is as good as random.
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
    """The test; of the oracle's, which is one test for hundreds of scenarios, what a name begins
    with: a kind of plan.
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
) -> Run:
    """Run the tests on every prepared kernel, and write the run's folder.

    With `keep` the VM of a test that fails stays until the user has seen enough of it. With
    `stop_early` the first test that does not end as expected is the last one; `first`
    are node ids of tests that come before all others, which then come in `quickest_first` order.

    Raises:
        SetupError: the host lacks something, or `expression` matches no test.
        InfraError: the host failed before the first test.
        KeyboardInterrupt: after the results so far were written.
    """
    for arch in lab.ctx.settings.arch:
        # A tree that does not build is a finding: the test that is about that raises it again.
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
        session = RunnerPlugin(lab, step, first)
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            status = pytest.main(arguments, plugins=[session])
    # Pytest calls itself interrupted also when tests cannot be collected.
    if session.trouble or status not in _ENDS:
        evidence = "\n".join([*session.trouble, complaint.getvalue()])
        raise InfraError("pytest failed", evidence=evidence)
    if status is pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status is pytest.ExitCode.NO_TESTS_COLLECTED:
        raise SetupError(f"no test matches -k {expression!r}")
    assert session.recorder is not None
    return session.recorder.run()
