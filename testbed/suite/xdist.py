# SPDX-License-Identifier: GPL-2.0
"""Tests in parallel (pytest-xdist): the roles of the main process and of the worker processes.

A worker runs tests as a single process does, and sends its results to the main process. Only the
main process writes the results of the run. Without pytest-xdist one process has both roles.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from testbed.context import Context
from testbed.errors import InfraError
from testbed.lab.lab import Lab
from testbed.settings import available_mib
from testbed.suite.collected import COLLECTED, Collected, write_collected
from testbed.suite.recorder import Recorder
from testbed.suite.selection import Selection
from testbed.terminal import make_progress

_ORDER = "testbed_order"  # all that a worker must know, pickled
_RUN_DIR = "testbed_run_dir"
_RESULT = "testbed_result"


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def received(config: pytest.Config) -> tuple[Lab, Selection]:
    """Return the lab of a worker, and the tests that its session runs."""
    sent = pickle.loads(config.workerinput[_ORDER])  # type: ignore[attr-defined]
    ctx = Context.of(sent["settings"], make_progress(Console()))
    lab = Lab(ctx, sent["series"], sent["build_dir_name"])
    lab.adopt(sent["kernels"])
    return lab, sent["selection"]


@dataclass(eq=False)  # pytest puts its plugins into sets
class Keeper:
    """The plugin of the process that writes the results."""

    recorder: Recorder
    selection: Selection = field(default_factory=Selection)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        try:
            self.recorder.take(report)
        except InfraError as error:
            self.recorder.broken = error
            pytest.exit(str(error))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        try:
            self.recorder.write()
        except InfraError as error:
            self.recorder.broken = self.recorder.broken or error

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_auto_num_workers(self) -> int:
        return self.recorder.lab.ctx.settings.worker_count(available_mib())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> object:
        # pytest must import its plugins by itself, pytest-xdist too.
        from testbed.suite.scheduling import BatchScheduling

        config.option.loadscopereorder = False
        return BatchScheduling(config, log, self.recorder)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give all workers the same folder for their logs."""
        lab = self.recorder.lab
        node.workerinput[_RUN_DIR] = str(lab.run_dir)
        order = {
            "settings": lab.ctx.settings,
            "series": lab.series,
            "build_dir_name": lab.build_dir_name,
            "kernels": lab.handover(),
            "selection": self.selection,
        }
        node.workerinput[_ORDER] = pickle.dumps(order)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # A worker that died has no output.
        result = getattr(node, "workeroutput", {}).get(_RESULT)
        if result is not None:
            self.recorder.join(result)


@dataclass(eq=False)  # pytest puts its plugins into sets
class Worker:
    """The plugin of a worker process."""

    recorder: Recorder
    config: Any  # has attributes that pytest-xdist adds

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        lab = self.recorder.lab
        lab.run_dir = Path(self.config.workerinput[_RUN_DIR])
        lab.workers = self.config.workerinput["workercount"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self) -> None:
        """Write the batches: pytest-xdist sends only the names of the tests."""
        # Collection may have failed, and then no test runs.
        collected = self.config.stash.get(COLLECTED, Collected())
        write_collected(self.recorder.lab.run_dir, collected)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self.config.workeroutput[_RESULT] = self.recorder.result()
