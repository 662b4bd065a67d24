# SPDX-License-Identifier: GPL-2.0
"""Tests side by side: what the session's own process and its worker processes are each about.

A worker runs tests as a session of one process does; what it finds travels to the session's
process, which alone keeps the run's results. Without pytest-xdist one process is both.
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

# Beside the memory of its VM: Python, QEMU, and the clones that are made ready.
_WORKER_MIB = 512


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of pytest-xdist's workers."""
    return hasattr(config, "workerinput")


def slots(settings: Settings, available_mib: int) -> int:
    """How many workers the host has processors and memory for."""
    memory = available_mib // (settings.vm_memory_mib + _WORKER_MIB)
    return max(1, min(settings.jobs, memory))


def available_mib() -> int:
    """Memory that the host can give without swapping (proc(5), MemAvailable)."""
    fields = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(words[1]) >> 10 for words in fields if words[0] == "MemAvailable:")


@dataclass(eq=False)  # pytest puts its plugins into sets
class Keeper:
    """A plugin of the process that keeps the results."""

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
        """All workers leave their logs in one folder."""
        node.workerinput[_RUN_DIR] = str(self.recorder.lab.run_dir)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # A worker that died has told nothing.
        result = getattr(node, "workeroutput", {}).get(_RESULT)
        if result is not None:
            self.recorder.join(result)


@dataclass(eq=False)
class Worker:
    """A plugin of a worker process."""

    recorder: Recorder
    config: Any  # with what pytest-xdist puts there

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        lab = self.recorder.lab
        lab.run_dir = Path(self.config.workerinput[_RUN_DIR])
        lab.workers = self.config.workerinput["workercount"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self.config.workeroutput[_RESULT] = self.recorder.result()
