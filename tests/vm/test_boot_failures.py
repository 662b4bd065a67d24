# SPDX-License-Identifier: GPL-2.0
"""VMs that do not boot, or die later: real kernels on QEMU."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from testbed.deadline import Deadline
from testbed.errors import BootHang, BootNoSsh, BootPanic, TestbedError
from testbed.lab.prepared import PreparedKernel
from testbed.vm.machine import VmSpec, boot


def spec(prepared: PreparedKernel, log_dir: Path, *words: str) -> VmSpec:
    return dataclasses.replace(prepared.vm_spec(log_dir), cmdline=words)


def failure(spec: VmSpec, seconds: float) -> TestbedError:
    with pytest.raises(TestbedError) as raised, boot(spec, Deadline.after(seconds)):
        pass
    assert "by hand: qemu-system-" in raised.value.evidence
    return raised.value


def test_a_kernel_that_panics_at_boot(prepared: PreparedKernel, tmp_path: Path) -> None:
    error = failure(spec(prepared, tmp_path, "rdinit=/nonexistent"), 60)
    assert isinstance(error, BootPanic)
    assert "Unable to mount root fs" in error.message
    assert "mount_root_generic" in error.evidence


def test_a_kernel_that_hangs_at_boot(prepared: PreparedKernel, tmp_path: Path) -> None:
    # busybox's init has nothing to do, so it never reports that the guest is ready.
    error = failure(spec(prepared, tmp_path, "rdinit=/bin/init"), 20)
    assert isinstance(error, BootHang)
    assert "Run /bin/init as init process" in error.evidence
    # The kernel is well, and idle.
    assert "CPU 0 is in the kernel" in error.evidence
    assert re.search(r"^ (\? )?(do_idle|cpu_startup_entry)\+0x", error.evidence, re.MULTILINE)


def test_a_guest_without_network(prepared: PreparedKernel, tmp_path: Path) -> None:
    error = failure(spec(prepared, tmp_path, "ip=off"), 20)
    assert isinstance(error, BootNoSsh)
    assert "testbed: ready" in error.evidence


def test_a_panic_after_the_boot_is_detected(prepared: PreparedKernel, tmp_path: Path) -> None:
    with boot(spec(prepared, tmp_path, "testbed.shell"), Deadline.after(60)) as vm:
        vm.console.type("echo c >/proc/sysrq-trigger\n")
        reason = vm.notifier.wait_for(vm.why_dead, Deadline.after(60))
    assert reason == "the guest kernel panicked: sysrq triggered crash"


def test_a_guest_has_the_requested_number_of_cpus(prepared: PreparedKernel, tmp_path: Path) -> None:
    two = dataclasses.replace(prepared.vm_spec(tmp_path), cpus=2)
    with boot(two, Deadline.after(60)) as vm:
        assert "2 CPUs" in vm.console.text()
