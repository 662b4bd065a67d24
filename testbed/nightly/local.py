# SPDX-License-Identifier: GPL-2.0
"""Cells in processes of this host: the executor that needs nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from testbed.arch import ARCHES, host_uname
from testbed.nightly.child import cell_process, end_of
from testbed.nightly.executor import BUILD, QEMU, RAM, Ended, Host, Job, Resources, kvm_of
from testbed.process import Process, wait_any
from testbed.settings import Settings, available_mib

# A kernel is compiled with a process for each core: more builds at a time are not faster.
_CORES_PER_BUILD = 4


def host_resources(settings: Settings) -> dict[str, float]:
    """Return what this host has for cells, now."""
    mib = available_mib()
    slots = settings.worker_count(mib)
    builds = max(1, len(os.sched_getaffinity(0)) // _CORES_PER_BUILD)
    kvm = {kvm_of(arch): slots for arch in ARCHES if _may_have_kvm(arch)}
    return {QEMU: slots, BUILD: builds, RAM: mib * 2.0**20, **kvm}


def _may_have_kvm(arch: str) -> bool:
    return ARCHES[arch].uname == host_uname() and os.access("/dev/kvm", os.R_OK | os.W_OK)


@dataclass
class _Running:
    job: Job
    process: Process
    stack: ExitStack


@dataclass
class LocalExecutor:
    """Runs each cell in a child process, which ends with this one."""

    resources: Resources
    patience: float = 0.0  # no other host will come
    _running: dict[str, _Running] = field(default_factory=dict)

    def hosts(self) -> Sequence[Host]:
        return [Host(socket.gethostname(), self.resources)]

    def start(self, job: Job, host: str) -> None:
        stack = ExitStack()
        process = stack.enter_context(cell_process(job.cell, job.folder))
        self._running[job.key] = _Running(job, process, stack)

    def wait(self, seconds: float) -> Sequence[Ended]:
        by_process: Mapping[int, _Running] = {
            each.process.pid: each for each in self._running.values()
        }
        ended = wait_any([each.process for each in self._running.values()], seconds)
        return [self._ended(by_process[process.pid]) for process in ended]

    def cancel(self, job: Job) -> None:
        self._running.pop(job.key).stack.close()

    def close(self) -> None:
        running, self._running = list(self._running.values()), {}
        if running:
            # Side by side: each may take seconds to end its VMs.
            with ThreadPoolExecutor(len(running)) as enders:
                list(enders.map(lambda each: each.stack.close(), running))

    def _ended(self, each: _Running) -> Ended:
        del self._running[each.job.key]
        each.stack.close()
        return Ended(each.job, *end_of(each.process, each.job.folder))
