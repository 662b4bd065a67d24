# SPDX-License-Identifier: GPL-2.0
"""What keeps KVM from working on a host, and the hint for it."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from testbed.arch import find_arch
from testbed.process import user_name
from testbed.vm.kvm import HostFiles, Obstacle, kvm_obstacle

X86_64 = find_arch("x86_64")
ARM64 = find_arch("arm64")


@pytest.fixture
def files(tmp_path: Path) -> HostFiles:
    """The files of a host without /dev/kvm, whose processor has no special flags."""
    found = HostFiles(tmp_path / "kvm", tmp_path / "cpuinfo", tmp_path / "misc-kvm")
    found.cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu vme\n\nprocessor\t: 1\n")
    return found


def obstacle(files: HostFiles, host: str = "x86_64") -> Obstacle:
    found = kvm_obstacle(ARM64 if host == "aarch64" else X86_64, files, host)
    assert found is not None
    return found


def has_flags(files: HostFiles, flags: str) -> None:
    files.cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")


def test_a_foreign_architecture_has_no_kvm() -> None:
    found = kvm_obstacle(ARM64, host="x86_64")
    assert found == Obstacle("the host is x86_64, where KVM cannot run arm64 guests")
    other = kvm_obstacle(X86_64, host="aarch64")
    assert other is not None
    assert "the host is aarch64" in other.reason


def test_a_processor_that_cannot_run_guests_is_switched_on_in_the_firmware(
    files: HostFiles,
) -> None:
    found = obstacle(files)
    assert found.reason == f"the host has no {files.device}"
    assert found.hint.startswith("switch on virtualization in the firmware")


@pytest.mark.parametrize(("flag", "module"), [("vmx", "kvm_intel"), ("svm", "kvm_amd")])
def test_a_processor_that_can_run_guests_lacks_a_module(
    files: HostFiles, flag: str, module: str
) -> None:
    has_flags(files, f"fpu {flag} hypervisor")
    assert f"`sudo modprobe {module}`" in obstacle(files).hint


def test_a_virtual_machine_needs_nested_virtualization(files: HostFiles) -> None:
    has_flags(files, "fpu hypervisor")
    assert "nested virtualization" in obstacle(files).hint


@pytest.mark.parametrize(("host", "flags"), [("x86_64", "fpu svm"), ("aarch64", "fp asimd")])
def test_a_container_lacks_the_device_of_a_kernel_that_has_kvm(
    files: HostFiles, host: str, flags: str
) -> None:
    has_flags(files, flags)
    files.registered.mkdir()
    assert obstacle(files, host).hint == f"in a container: start it with --device {files.device}"


def test_an_arm64_kernel_has_to_start_in_el2(files: HostFiles) -> None:
    files.cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert "EL2" in obstacle(files, "aarch64").hint


def test_a_device_that_is_not_kvm_is_noticed() -> None:
    assert "is not a KVM device" in obstacle(HostFiles(Path("/dev/null"))).reason


def refuses(files: HostFiles, gid: int, mode: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the hint for a device of this group and mode that does not open."""
    files.device.write_text("")
    files.device.chmod(mode)
    real = os.stat

    def refuse(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    class Status:
        st_gid, st_mode = gid, real(files.device).st_mode

    monkeypatch.setattr("testbed.vm.kvm.os.open", refuse)
    monkeypatch.setattr(Path, "stat", lambda self, **options: Status())
    found = obstacle(files)
    assert found.reason == f"{files.device} cannot be opened: Permission denied"
    return found.hint


def test_a_user_outside_the_group_learns_how_to_enter_it(
    files: HostFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("kvm", "x", gid, [])))
    hint = refuses(files, 104, 0o660, monkeypatch)
    assert hint == (
        f"it is for the group kvm: run `sudo usermod -aG kvm {user_name()}`, then log in again"
    )


def test_a_member_whose_session_is_older_logs_in_again(
    files: HostFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [user_name()]
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("kvm", "x", gid, members)))
    hint = refuses(files, 104, 0o660, monkeypatch)
    assert hint.endswith("this session began before: log in again")


def test_a_group_may_lack_a_name(files: HostFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(gid: int) -> None:
        raise KeyError(gid)

    monkeypatch.setattr(grp, "getgrgid", unknown)
    assert "usermod -aG 991 " in refuses(files, 991, 0o660, monkeypatch)


@pytest.mark.parametrize(("gid", "mode"), [(0, 0o660), (104, 0o600)])
def test_a_device_for_nobody_is_given_to_the_group(
    files: HostFiles, gid: int, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hint = refuses(files, gid, mode, monkeypatch)
    assert f"sudo chgrp kvm {files.device} && sudo chmod 660 {files.device}" in hint
