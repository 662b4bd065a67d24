# SPDX-License-Identifier: GPL-2.0
"""VMs that do not boot, or die later: real kernels on QEMU."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.deadline import Deadline
from testbed.errors import BootHang, BootNoSsh, BootPanic, TestbedError
from testbed.lab.prepared import PreparedKernel
from testbed.vm.machine import VirtualMachine, VmSpec, boot

# Seconds for a VM to boot, or to die.
_PATIENCE = 600


def spec(prepared: PreparedKernel, log_dir: Path, *words: str) -> VmSpec:
    return dataclasses.replace(prepared.vm_spec(log_dir), cmdline=words)


def failure(spec: VmSpec) -> TestbedError:
    with pytest.raises(TestbedError) as raised, boot(spec, Deadline.after(_PATIENCE)):
        pass
    assert "by hand: qemu-system-" in raised.value.evidence
    return raised.value


@pytest.fixture
def give_up_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a boot wait for 20 s from when the console shows a text.

    A busy host may take longer until then.
    """
    wait = VirtualMachine.wait_until_up

    def give_up_after(text: str) -> None:
        def wait_until_up(vm: VirtualMachine, deadline: Deadline) -> None:
            shown = vm.notifier.wait_for(
                lambda: text in vm.console.text() or vm.why_dead(), deadline
            )
            assert shown, f"the console does not show {text!r}"
            wait(vm, Deadline.after(20))

        monkeypatch.setattr(VirtualMachine, "wait_until_up", wait_until_up)

    return give_up_after


def test_a_kernel_that_panics_at_boot(prepared: PreparedKernel, tmp_path: Path) -> None:
    error = failure(spec(prepared, tmp_path, "rdinit=/nonexistent"))
    assert isinstance(error, BootPanic)
    assert "Unable to mount root fs" in error.message
    assert "mount_root_generic" in error.evidence


def test_a_kernel_that_hangs_at_boot(
    prepared: PreparedKernel, tmp_path: Path, give_up_after: Callable[[str], None]
) -> None:
    # busybox's init has nothing to do, so it never reports that the guest is ready.
    give_up_after("Run /bin/init as init process")
    error = failure(spec(prepared, tmp_path, "rdinit=/bin/init"))
    assert isinstance(error, BootHang)
    assert "Run /bin/init as init process" in error.evidence
    # The kernel is well, and idle.
    assert "CPU 0 is in the kernel" in error.evidence
    assert re.search(r"^ (\? )?(do_idle|cpu_startup_entry)\+0x", error.evidence, re.MULTILINE)


def test_a_guest_without_network(
    prepared: PreparedKernel, tmp_path: Path, give_up_after: Callable[[str], None]
) -> None:
    give_up_after("testbed: ready")
    error = failure(spec(prepared, tmp_path, "ip=off"))
    assert isinstance(error, BootNoSsh)
    assert "testbed: ready" in error.evidence


def test_a_panic_after_the_boot_is_detected(prepared: PreparedKernel, tmp_path: Path) -> None:
    with boot(spec(prepared, tmp_path, "testbed.shell"), Deadline.after(_PATIENCE)) as vm:
        vm.console.type("echo c >/proc/sysrq-trigger\n")
        reason = vm.notifier.wait_for(vm.why_dead, Deadline.after(_PATIENCE))
    assert reason == "the guest kernel panicked: sysrq triggered crash"


def test_a_guest_has_the_requested_number_of_cpus(prepared: PreparedKernel, tmp_path: Path) -> None:
    two = dataclasses.replace(prepared.vm_spec(tmp_path), cpus=2)
    with boot(two, Deadline.after(_PATIENCE)) as vm:
        assert "2 CPUs" in vm.console.text()
