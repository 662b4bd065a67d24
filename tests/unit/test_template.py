# SPDX-License-Identifier: GPL-2.0
"""Templates, tested without a VM."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.cache import Cache
from testbed.deadline import Deadline
from testbed.errors import GuestTimeout
from testbed.lab import template as subject
from testbed.lab.prepared import PreparedKernel
from testbed.process import Process, spawn
from testbed.progress import SilentProgress
from testbed.vm.machine import VirtualMachine


def test_a_cold_template_gets_as_long_as_a_warm_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []

    def take(*words: Any, warm: bool) -> None:
        deadline = cast(Deadline, words[-1])
        left.append(deadline.remaining)
        while warm and not deadline.expired:
            pass  # the warm-up uses all of its time
        if warm:
            raise GuestTimeout("no answer")

    monkeypatch.setattr(subject, "_take", take)
    monkeypatch.setattr(subject, "template_key", lambda _: "key")
    prepared = cast(PreparedKernel, SimpleNamespace(arch="x86_64"))
    with closing(Cache(tmp_path, 1 << 20, SilentProgress())) as store:
        subject.make_template(prepared, store, tmp_path, 0.2)
    assert [each > 0 for each in left] == [True, True]


def test_the_vms_that_boot_end_at_once_those_to_come_too(tmp_path: Path) -> None:
    booting = subject.Booting()
    words, log = ["sleep", "600"], tmp_path / "log"
    with spawn(words, log=log) as one, spawn(words, log=log) as other:
        booting.add(vm_of(one))
        booting.end()
        booting.add(vm_of(other))
        assert [each.wait(Deadline.after(60)) for each in (one, other)] == [-9, -9]


def vm_of(process: Process) -> VirtualMachine:
    return cast(VirtualMachine, SimpleNamespace(process=process))
