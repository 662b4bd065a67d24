# SPDX-License-Identifier: GPL-2.0
"""The session of `testbed run`: the step that a user sees, and the remaining time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.kernel.series import Series
from testbed.lab.lab import Lab
from testbed.progress import SilentProgress, Step
from testbed.suite import runner
from testbed.suite.orderdata import load_seconds
from testbed.suite.recorder import Recorder

TESTS = [f"tests/vm/contract/test_a.py::test_{number}[arm64]" for number in range(1000)]

Main = Callable[..., pytest.ExitCode]  # gets words and plugins


class Shown(SilentProgress):
    """A progress that keeps how each step ended, and what it reported."""

    def __init__(self) -> None:
        self.ends: dict[str, type[BaseException] | None] = {}
        self.updates: list[dict[str, Any]] = []

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        try:
            yield self
        except BaseException as error:
            self.ends[title] = type(error)
            raise
        self.ends[title] = None

    def update(
        self,
        done: float,
        *,
        total: float | None = None,
        note: str = "",
        seconds: float | None = None,
    ) -> None:
        self.updates.append({"done": done, "total": total, "seconds": seconds})


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def lab(ctx: Context, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> Lab:
    settings = dataclasses.replace(ctx.settings, arch=("arm64",), workers=1)
    monkeypatch.setattr(Lab, "prepare_ready", lambda *_: ())
    return Lab(dataclasses.replace(ctx, settings=settings, progress=shown), Series())


def session(monkeypatch: pytest.MonkeyPatch, main: Main) -> None:
    """Let `main` stand for pytest."""
    monkeypatch.setattr("testbed.suite.runner.pytest.main", main)


def whole(_: Sequence[str], plugins: Sequence[runner.RunnerPlugin]) -> pytest.ExitCode:
    """A session that runs all tests."""
    (plugin,) = plugins
    plugin.recorder = Recorder(plugin.lab, "testbed run")
    items = [SimpleNamespace(nodeid=test) for test in TESTS]
    plugin.pytest_collection_finish(cast(pytest.Session, SimpleNamespace(items=items)))
    for test in TESTS:
        plugin.pytest_runtest_logstart(test)
        plugin.pytest_runtest_logfinish(test)
    return pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (pytest.ExitCode.INTERRUPTED, KeyboardInterrupt),
        (pytest.ExitCode.INTERNAL_ERROR, InfraError),
        (pytest.ExitCode.NO_TESTS_COLLECTED, SetupError),
    ],
)
def test_a_session_that_does_not_end_well_is_no_step_that_is_done(
    lab: Lab,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
    status: pytest.ExitCode,
    error: type[BaseException],
) -> None:
    session(monkeypatch, lambda words, plugins: status)
    with pytest.raises(error):
        runner.run_suite(lab, None)
    assert shown.ends == {"test": error}


def test_a_step_of_tests_counts_their_seconds(
    lab: Lab, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    session(monkeypatch, whole)
    runner.run_suite(lab, None)
    assert shown.ends == {"test": None}
    total = 1000 * load_seconds().mean
    first, *_, last = shown.updates
    assert first["total"] == pytest.approx(total)
    assert first["seconds"] == pytest.approx(0.65 * total)  # one worker
    assert last["done"] == pytest.approx(total)
    assert [update["seconds"] for update in shown.updates[1:]] == [None] * 2000


def test_the_same_tests_of_a_second_worker_begin_nothing_anew(
    lab: Lab, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(_: Sequence[str], plugins: Sequence[runner.RunnerPlugin]) -> pytest.ExitCode:
        (plugin,) = plugins
        plugin.recorder = Recorder(plugin.lab, "testbed run")
        for _worker in range(2):
            plugin.pytest_xdist_node_collection_finished(TESTS)
            plugin.pytest_runtest_logfinish(TESTS[0])
        return pytest.ExitCode.OK

    session(monkeypatch, main)
    runner.run_suite(lab, None)
    assert [update["seconds"] is None for update in shown.updates] == [False, True, True]


@pytest.mark.parametrize("late", [(), ("x86_64",)])
def test_a_run_keeps_its_pace_unless_a_build_slowed_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, late: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Lab, "prepare_ready", lambda *_: late)
    session(monkeypatch, whole)
    runner.run_suite(lab, None)
    pace = lab.ctx.settings.state_dir / "pace.json"
    assert pace.exists() == (not late)
    if not late:
        assert list(json.loads(pace.read_text())) == ["tests batch base arm64"]
