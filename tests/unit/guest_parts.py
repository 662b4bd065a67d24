# SPDX-License-Identifier: GPL-2.0
"""A guest for tests whose agent and kernel are fakes: files, modules and a kernel log."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import PurePath
from types import SimpleNamespace
from typing import cast

from fake_agent import FakeChannel, FakeKernelLog, blob, take_blob, u32

from testbed.guest.kernellog import KernelLog
from testbed.guest.protocol import AgentRefusal, ErrorClass, Request
from testbed.guest.session import Session
from testbed.lab.guest import Guest
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.probe import Prober
from testbed.vm.machine import VirtualMachine

_STATUS = "PPid:\t7\nVmData:\t     100 kB\nVmStk:\t     132 kB\n"


@dataclass
class FakeKernel(FakeKernelLog):
    """A kernel log, the files of a ledger, and modules that are loaded and unloaded."""

    shmem: int = 0  # kB
    modules: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)  # modules that cannot be unloaded
    unloaded: list[str] = field(default_factory=list)

    def channel(self) -> FakeChannel:
        channel = super().channel()
        channel.answers |= {
            Request.GET: self._get,
            Request.LOAD: self._load,
            Request.UNLOAD: self._unload,
        }
        return channel

    def _get(self, payload: bytes) -> bytes:
        path = take_blob(payload)[0][:-1].decode()
        memory = f"Committed_AS:    1000 kB\nShmem:    {self.shmem} kB\n"
        files = {
            "/proc/sys/vm/stat_refresh": "",
            "/proc/meminfo": memory,
            "/proc/self/status": _STATUS,
            "/proc/7/status": _STATUS,
            "/proc/modules": "".join(self._module(name) for name in self.modules),
        }
        if path not in files:
            raise AgentRefusal(ErrorClass.SYSTEM, errno.ENOENT, f"read {path}")
        return u32(0) + blob(files[path].encode())

    def _module(self, name: str) -> str:
        return f"{name} 8192 {int(name in self.busy)} - Live 0x0\n"

    def _load(self, payload: bytes) -> bytes:
        name = PurePath(take_blob(payload)[0][:-1].decode()).stem
        if name in self.modules:
            raise AgentRefusal(ErrorClass.SYSTEM, errno.EEXIST, f"load {name}")
        self.modules.append(name)
        return b""

    def _unload(self, payload: bytes) -> bytes:
        name = take_blob(payload)[0][:-1].decode()
        if name in self.busy:
            raise AgentRefusal(ErrorClass.SYSTEM, errno.EAGAIN, f"unload {name}")
        self.modules.remove(name)
        self.unloaded.append(name)
        return b""


def fake_guest(kernel: FakeKernel, channel: FakeChannel | None = None) -> Guest:
    """Return a guest that runs a fake kernel in no VM."""
    session = Session(channel or kernel.channel())
    vm = SimpleNamespace(why_dead=lambda: None)
    return Guest(
        cast(PreparedKernel, None),
        cast(VirtualMachine, vm),
        session,
        KernelLog(session, lambda: kernel.console),
        Prober(session),
    )
