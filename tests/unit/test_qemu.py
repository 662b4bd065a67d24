# SPDX-License-Identifier: GPL-2.0
"""QEMU's command lines, and the text of its monitor."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import vm_parts

from testbed.arch import find_arch
from testbed.errors import InfraError, SetupError
from testbed.image import Disk
from testbed.vm.qemu import (
    Accel,
    Channels,
    Template,
    argv_by_hand,
    command_by_hand,
    kernel_cmdline,
    parse_connections,
    parse_ssh_port,
    qemu_argv,
    qemu_version,
)

CHANNELS = Channels(qmp=5, console=6, reseed=7)

USERNET = (
    "Hub -1 (net0):\r\n"
    "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
    "  TCP[ESTABLISHED]  12       127.0.0.1 40001       10.0.2.15    22     0     0\r\n"
    "  TCP[HOST_FORWARD]  3       127.0.0.1 35761       10.0.2.15    22     0     0\r\n"
)


def value(argv: Sequence[str], option: str) -> str:
    assert argv.count(option) == 1
    return argv[argv.index(option) + 1]


def values(argv: Sequence[str], option: str) -> list[str]:
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


@pytest.mark.parametrize(
    ("name", "program", "machine", "cpu"),
    [
        ("x86_64", "qemu-system-x86_64", "q35", "max"),
        ("arm64", "qemu-system-aarch64", "virt,mte=on", "max,pauth-impdef=on"),
    ],
)
def test_each_architecture_has_its_machine(name: str, program: str, machine: str, cpu: str) -> None:
    argv = qemu_argv(vm_parts.spec(name), CHANNELS)
    assert argv[0] == program
    assert value(argv, "-machine") == machine
    assert value(argv, "-cpu") == cpu
    assert value(argv, "-accel") == "tcg"


@pytest.mark.parametrize(
    ("name", "machine"), [("x86_64", "q35"), ("arm64", "virt,gic-version=host")]
)
def test_kvm_gives_the_hosts_cpu_and_interrupt_controller(name: str, machine: str) -> None:
    argv = qemu_argv(vm_parts.spec(name, accel=Accel.KVM), CHANNELS)
    assert value(argv, "-machine") == machine
    assert value(argv, "-accel") == "kvm"
    assert value(argv, "-cpu") == "host"


@pytest.mark.parametrize(("name", "skipped"), [("x86_64", True), ("arm64", False)])
def test_a_busy_host_does_not_fail_the_check_of_the_timer(name: str, skipped: bool) -> None:
    assert ("no_timer_check" in kernel_cmdline(vm_parts.spec(name)).split()) is skipped


def test_monitor_and_console_are_sockets_that_qemu_inherits() -> None:
    argv = qemu_argv(vm_parts.spec(), CHANNELS)
    assert values(argv, "-chardev") == [
        "socket,id=qmp,fd=5",
        "socket,id=console,fd=6",
        "socket,id=reseed,fd=7",
    ]
    assert value(argv, "-mon") == "chardev=qmp,mode=control"
    assert value(argv, "-serial") == "chardev:console"


def test_the_guest_reaches_nothing_and_is_reached_only_through_loopback() -> None:
    network = value(qemu_argv(vm_parts.spec(), CHANNELS), "-netdev")
    assert "restrict=on" in network
    assert "hostfwd=tcp:127.0.0.1:0-:22" in network


def test_qemu_runs_in_its_sandbox() -> None:
    sandbox = value(qemu_argv(vm_parts.spec(), CHANNELS), "-sandbox")
    assert sandbox.startswith("on,")
    for what in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol"):
        assert f"{what}=deny" in sandbox


def test_a_disk_is_written_to_an_overlay_and_known_by_its_name() -> None:
    spec = dataclasses.replace(vm_parts.spec(), disks=(Disk("ext4", Path("/cache/disk.img")),))
    argv = qemu_argv(spec, CHANNELS)
    assert value(argv, "-drive") == "file=/cache/disk.img,format=raw,if=none,id=ext4,snapshot=on"
    assert "virtio-blk-pci,drive=ext4,serial=ext4" in values(argv, "-device")


def test_a_comma_in_a_path_does_not_end_an_option() -> None:
    disks = (Disk("ext4", Path("/a,b/disk.img")),)
    spec = dataclasses.replace(vm_parts.spec(log_dir=Path("/c,d")), disks=disks)
    argv = qemu_argv(spec, CHANNELS)
    assert "file=/a,,b/disk.img,format=raw," in value(argv, "-drive")
    assert "path=/c,,d/shared," in value(argv, "-fsdev")


def test_the_shared_folder_is_in_the_log_folder() -> None:
    argv = qemu_argv(vm_parts.spec(log_dir=Path("/logs")), CHANNELS)
    assert "path=/logs/shared" in value(argv, "-fsdev").split(",")


def test_a_panic_ends_the_machine() -> None:
    argv = qemu_argv(vm_parts.spec(), CHANNELS)
    assert "-no-reboot" in argv
    assert "panic=-1" in value(argv, "-append").split()


def test_a_slow_guest_has_longer_timeouts() -> None:
    fast = kernel_cmdline(vm_parts.spec(accel=Accel.KVM)).split()
    slow = kernel_cmdline(vm_parts.spec(accel=Accel.TCG)).split()
    checked = kernel_cmdline(vm_parts.spec(accel=Accel.TCG, slowdown=4)).split()
    assert "watchdog_thresh=10" in fast
    assert "watchdog_thresh=30" in slow
    assert "watchdog_thresh=120" in checked


def test_the_callers_words_come_after_the_testbeds() -> None:
    words = kernel_cmdline(vm_parts.spec(cmdline=("ip=off", "nokaslr"))).split()
    assert words[-2:] == ["ip=off", "nokaslr"]


@pytest.mark.parametrize(
    ("name", "console"), [("x86_64", "console=ttyS0"), ("arm64", "console=ttyAMA0")]
)
def test_the_kernel_prints_on_the_machines_serial_port(name: str, console: str) -> None:
    assert console in kernel_cmdline(vm_parts.spec(name)).split()


def test_by_hand_the_console_is_the_terminal_and_nothing_is_inherited() -> None:
    argv = argv_by_hand(vm_parts.spec())
    assert value(argv, "-serial") == "mon:stdio"
    assert "-fsdev" not in argv
    assert "fd=" not in " ".join(argv)
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in value(argv, "-netdev")
    assert value(argv, "-append").endswith(" testbed.shell")


def test_the_command_by_hand_can_be_pasted() -> None:
    spec = vm_parts.spec("arm64", cmdline=("quiet",))
    assert shlex.split(command_by_hand(spec).replace("\\\n", "")) == argv_by_hand(spec)


def test_the_ssh_port_is_the_listening_one() -> None:
    assert parse_ssh_port(USERNET) == 35761
    assert parse_ssh_port("Hub -1 (net0):\r\n") is None


def fake_qemu(folder: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\necho '{output}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_version_is_the_programs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_qemu(tmp_path, "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", monkeypatch)
    assert qemu_version(find_arch("x86_64")) == "10.0.2"


def test_a_program_that_is_not_qemu_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(tmp_path, "hello", monkeypatch)
    with pytest.raises(InfraError, match="does not print its version"):
        qemu_version(find_arch("x86_64"))


def test_a_missing_qemu_is_an_error_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError) as raised:
        qemu_version(find_arch("arm64"))
    assert "qemu-system-aarch64" in raised.value.message
    assert "qemu-system-arm" in raised.value.hint


def test_a_templates_memory_is_a_shared_file_and_a_clones_a_private_one() -> None:
    template = Template(Path("/dev/shm/a,b"))
    path = template.memory
    for spec, share in (
        (dataclasses.replace(vm_parts.spec(), memory_file=path), "on"),
        (dataclasses.replace(vm_parts.spec(), template=template), "off"),
    ):
        argv = qemu_argv(spec, CHANNELS)
        assert value(argv, "-machine") == "q35,memory-backend=ram"
        memory = f"memory-backend-file,id=ram,size=512M,mem-path=/dev/shm/a,,b/memory,share={share}"
        assert memory in values(argv, "-object")


def test_a_clone_is_the_same_machine_as_its_template() -> None:
    """Only the start differs: the devices are in the same slots."""
    template = Template(Path("/t"))
    made = qemu_argv(dataclasses.replace(vm_parts.spec(), memory_file=template.memory), CHANNELS)
    cloned = qemu_argv(dataclasses.replace(vm_parts.spec(), template=template), CHANNELS)
    assert values(made, "-device") == values(cloned, "-device")
    assert value(cloned, "-incoming") == "defer"


def test_a_device_tree_is_loaded_at_a_boot_and_not_by_a_clone() -> None:
    words = ("-device", "edu", "-dtb", "/t.dtb", "-device", "nvme")
    booted = vm_parts.spec("arm64", user_argv=words)
    assert qemu_argv(booted, CHANNELS)[-6:] == [*words]
    cloned = qemu_argv(dataclasses.replace(booted, template=Template(Path("/t"))), CHANNELS)
    assert cloned[-4:] == ["-device", "edu", "-device", "nvme"]
    assert "-dtb" not in cloned


def test_connections_are_counted_without_the_forwarded_port() -> None:
    assert parse_connections(USERNET) == 1
    assert parse_connections(USERNET.replace("ESTABLISHED", "FIN_WAIT_2")) == 1
    assert parse_connections("\r\n".join(USERNET.splitlines()[-1:])) == 0


def test_a_folder_of_the_user_is_read_only_in_the_vm() -> None:
    spec = vm_parts.spec(user_dir=Path("/home/a,b"))
    for argv in (qemu_argv(spec, CHANNELS), argv_by_hand(spec)):
        (folder,) = [text for text in values(argv, "-fsdev") if "id=user" in text]
        assert folder == "local,id=user,path=/home/a,,b,security_model=none,readonly=on"
        assert "virtio-9p-pci,fsdev=user,mount_tag=user" in values(argv, "-device")
    assert "testbed.user" in kernel_cmdline(spec).split()


def test_without_a_request_a_vm_has_no_folder_of_the_user() -> None:
    assert not any("id=user" in text for text in values(argv_by_hand(vm_parts.spec()), "-fsdev"))
    assert "testbed.user" not in kernel_cmdline(vm_parts.spec()).split()


def test_the_users_words_are_the_last_ones() -> None:
    """QEMU takes the last value of most options."""
    spec = vm_parts.spec(user_argv=("-m", "1G"))
    assert qemu_argv(spec, CHANNELS)[-2:] == ["-m", "1G"]
    assert argv_by_hand(spec)[-2:] == ["-m", "1G"]
    assert "-m 1G" in command_by_hand(spec)


def test_a_command_line_that_the_kernel_would_cut_is_refused() -> None:
    room = 2047 - len(" testbed.shell") - len(kernel_cmdline(vm_parts.spec())) - 1
    kernel_cmdline(vm_parts.spec(cmdline=("x" * room,)))
    with pytest.raises(SetupError, match="has 2034 characters"):
        kernel_cmdline(vm_parts.spec(cmdline=("x" * (room + 1),)))
