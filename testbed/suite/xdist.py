# SPDX-License-Identifier: GPL-2.0
"""Tests in parallel (pytest-xdist): the roles of the main process and of the worker processes.

A worker runs tests as a single process does, and sends its results to the main process. Only the
main process writes the results of the run. Without pytest-xdist one process has both roles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.settings import Settings
from testbed.suite.recorder import Recorder

_RUN_DIR = "testbed_run_dir"
_RESULT = "testbed_result"

# Memory per worker besides its VM: Python, QEMU, and clones prepared in advance.
_WORKER_MIB = 512


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def slots(settings: Settings, available_mib: int) -> int:
    """Return how many workers fit the host's processors and memory; at least 1."""
    memory = available_mib // (settings.vm_memory_mib + _WORKER_MIB)
    return max(1, min(settings.jobs, memory))


def available_mib() -> int:
    """Return the memory available without swapping, in MiB (proc(5), MemAvailable)."""
    fields = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(words[1]) >> 10 for words in fields if words[0] == "MemAvailable:")


@dataclass(eq=False)  # pytest puts its plugins into sets
class Keeper:
    """The plugin of the process that writes the results."""

    recorder: Recorder

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.recorder.take(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self.recorder.write()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_auto_num_workers(self) -> int:
        return slots(self.recorder.lab.ctx.settings, available_mib())

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give all workers the same folder for their logs."""
        node.workerinput[_RUN_DIR] = str(self.recorder.lab.run_dir)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # A worker that died has no output.
        result = getattr(node, "workeroutput", {}).get(_RESULT)
        if result is not None:
            self.recorder.join(result)


@dataclass(eq=False)
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
    def pytest_sessionfinish(self) -> None:
        self.config.workeroutput[_RESULT] = self.recorder.result()
