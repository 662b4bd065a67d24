# SPDX-License-Identifier: GPL-2.0
"""The life of a VM, with a fake QEMU that plays each way in which it can go."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import vm_parts

from testbed.deadline import Deadline
from testbed.errors import (
    BootHang,
    BootNoSsh,
    BootPanic,
    LaunchError,
    QmpError,
    SetupError,
    TestbedError,
)
from testbed.vm import machine
from testbed.vm.machine import VirtualMachine, boot, clone
from testbed.vm.qemu import Template
from testbed.vm.reseed import reseed

FAKE_QEMU = Path(__file__).with_name("fake_qemu.py")

Boot = Callable[..., AbstractContextManager[VirtualMachine]]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def start(tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_QEMU} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # A busy host may take long to start a program and to end it.
    for name in ("_QMP_PATIENCE", "_QUIT_PATIENCE", "_END_PATIENCE"):
        monkeypatch.setattr(machine, name, 60.0)

    def start(plays: str) -> AbstractContextManager[VirtualMachine]:
        spec = vm_parts.spec(log_dir=logs, cmdline=(f"fake={plays}",))
        return boot(spec, Deadline.after(60))

    return start


@pytest.fixture
def begin(start: Boot, tmp_path: Path, logs: Path) -> Boot:
    """Starts a clone; `start` has installed the fake QEMU."""

    def begin(plays: str) -> AbstractContextManager[VirtualMachine]:
        folder = tmp_path / f"fake={plays}"
        folder.mkdir()
        template = Template(folder)
        template.state.write_bytes(b"state")
        template.slowdown.write_text("2.5\n")
        spec = dataclasses.replace(vm_parts.spec(log_dir=logs), template=template)
        return clone(spec, Deadline.after(60))

    return begin


def failure(start: Boot, plays: str) -> TestbedError:
    with pytest.raises(TestbedError) as raised, start(plays):
        pass
    return raised.value


def is_running(vm: VirtualMachine) -> bool:
    return Path(f"/proc/{vm.process.pid}").exists()


def test_a_vm_lives_in_the_block_and_is_gone_after_it(start: Boot) -> None:
    with start("up") as vm:
        assert vm.why_dead() is None
        assert vm.ssh_port > 0
        assert "testbed: ready" in vm.console.text()
    assert not is_running(vm)
    assert vm.process.returncode == 0


def test_a_vm_is_gone_after_an_exception_too(start: Boot) -> None:
    with pytest.raises(KeyboardInterrupt), start("up") as vm:
        raise KeyboardInterrupt
    assert not is_running(vm)


def test_a_run_leaves_its_logs(start: Boot, logs: Path) -> None:
    with start("up"):
        pass
    assert "testbed: ready" in (logs / "console.log").read_text()
    assert "info usernet" in (logs / "qmp.log").read_text()
    assert "-serial mon:stdio" in (logs / "qemu.sh").read_text()
    assert (logs / "qemu.log").exists()


def test_a_panic_at_boot_is_reported_in_the_kernels_words(start: Boot) -> None:
    error = failure(start, "panic")
    assert isinstance(error, BootPanic)
    assert error.message == "the kernel panicked at boot: fake"


def test_a_reset_without_a_panic_is_the_kernels_fault_too(start: Boot) -> None:
    error = failure(start, "reset")
    assert isinstance(error, BootPanic)
    assert "reset itself at boot" in error.message


def test_a_silent_kernel_is_a_boot_hang(start: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only this wait is short: what is before it may take long on a busy host.
    wait = VirtualMachine.wait_until_up
    monkeypatch.setattr(
        VirtualMachine, "wait_until_up", lambda vm, _: wait(vm, Deadline.after(1.5))
    )
    error = failure(start, "hang")
    assert isinstance(error, BootHang)
    assert "userspace within 1.5 s" in error.message
    assert "Linux version 7.3.4" in error.evidence
    assert "by hand: qemu-system-x86_64" in error.evidence


def test_a_guest_without_ssh_is_not_a_hang(start: Boot) -> None:
    with start("up") as vm, socket.create_server(("127.0.0.1", 0)) as mute:
        vm.ssh_port = mute.getsockname()[1]
        with pytest.raises(BootNoSsh, match="SSH server did not answer"):
            vm.wait_until_up(Deadline.after(0.05))


def test_qemu_that_dies_while_the_guest_boots_is_at_fault_itself(start: Boot) -> None:
    error = failure(start, "dies")
    assert isinstance(error, LaunchError)
    assert "exit status 1" in error.message
    assert "out of memory" in error.evidence


def test_qemu_that_does_not_start_is_an_error_with_its_output(start: Boot) -> None:
    error = failure(start, "refuses")
    assert isinstance(error, LaunchError)
    assert "no such machine" in error.evidence


def test_qemu_that_does_not_start_with_the_users_words_is_the_callers_fault(
    start: Boot, logs: Path
) -> None:
    start("up")  # installs the program
    spec = vm_parts.spec(log_dir=logs, cmdline=("fake=refuses",), user_argv=("-device", "a b"))
    with pytest.raises(SetupError) as raised, boot(spec, Deadline.after(60)):
        pass
    assert "no such machine" in raised.value.evidence
    assert "--qemu right? It appends -device 'a b'" in raised.value.hint


@pytest.mark.parametrize("plays", ["panic", "reset", "dies", "refuses"])
def test_every_failure_has_the_console_and_the_command_to_run_by_hand(
    start: Boot, logs: Path, plays: str
) -> None:
    error = failure(start, plays)
    assert "by hand: qemu-system-x86_64" in error.evidence
    assert f"fake={plays}" in error.evidence
    assert logs / "console.log" in error.logs
    if plays not in ("panic", "refuses"):
        assert "Linux version 7.3.4" in error.evidence


def test_qemu_that_ignores_quit_is_killed(start: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_QUIT_PATIENCE", 0.1)
    with start("stubborn") as vm:
        pass
    assert vm.process.returncode == -9


def test_a_vm_that_ends_by_itself_has_an_exit_status(start: Boot) -> None:
    with start("dies-late") as vm:
        with pytest.raises(QmpError):
            vm.qmp.execute("stop", deadline=Deadline.after(60))
        assert vm.wait_until_gone() == "QEMU ended by itself, exit status 3"
        assert vm.why_dead() is not None


def test_a_vm_is_saved_as_a_template(start: Boot, tmp_path: Path) -> None:
    template = Template(tmp_path)
    with start("up") as vm:
        vm.reseed(Deadline.after(60))
        vm.save(template, Deadline.after(60))
        assert not is_running(vm)
    assert template.state.exists()


def test_a_template_that_cannot_be_saved_is_an_error(start: Boot, tmp_path: Path) -> None:
    template = Template(tmp_path)
    with start("no-load") as vm, pytest.raises(QmpError, match="saving the VM failed"):
        vm.save(template, Deadline.after(60))


def test_each_clone_gets_the_time_and_fresh_random_bytes(begin: Boot, logs: Path) -> None:
    seeds = []
    for plays in ("up", "up-again"):
        before = int(time.time())
        with begin(plays) as vm:
            assert vm.ssh_port > 0
            assert vm.slowdown == 2.5
        words = re.findall(r"reseeded with (\w+)", (logs / "console.log").read_text())
        message = bytes.fromhex(words[-1])
        assert before <= int.from_bytes(message[:8]) <= time.time()
        seeds.append(message[12:])
    assert len(seeds[0]) == len(seeds[1]) == 64
    assert seeds[0] != seeds[1]


def test_a_clone_has_no_kernel_on_its_command_line(begin: Boot) -> None:
    with begin("up") as vm:
        assert not {"-kernel", "-initrd", "-append"} & set(vm.argv)


def test_a_clone_whose_template_cannot_be_loaded_is_the_hosts_fault(
    begin: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_QUIT_PATIENCE", 0.1)  # QEMU lives on, and is waited for in vain
    error = failure(begin, "no-load")
    assert isinstance(error, QmpError)
    assert "loading the template failed" in error.message


def test_a_clone_that_cannot_use_the_seed_is_a_hang(begin: Boot) -> None:
    error = failure(begin, "no-seed")
    assert isinstance(error, BootHang)
    assert "in the guest" in error.message


def test_a_clone_that_does_not_reseed_is_a_hang(
    begin: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only this wait is short: what is before it may take long on a busy host.
    monkeypatch.setattr(machine, "reseed", lambda port, _: reseed(port, Deadline.after(0.5)))
    error = failure(begin, "sleeps")
    assert isinstance(error, BootHang)
    assert "timed out" in error.message
