# SPDX-License-Identifier: GPL-2.0
"""What keeps KVM from working, after quick checks only, and what the user can do about it."""

from __future__ import annotations

import fcntl
import grp
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import Arch, host_uname
from testbed.process import user_name

# _IO(KVMIO, 0x00). Every kernel since 2.6.22 answers 12.
_GET_API_VERSION = 0xAE00
_API_VERSION = 12

# The flag of /proc/cpuinfo that says that an x86 processor can run guests, and the module for it.
_VENDOR_MODULES = {"vmx": "kvm_intel", "svm": "kvm_amd"}

_GROUP = "kvm"


@dataclass(frozen=True)
class Obstacle:
    """Why KVM cannot work, and a hint; the hint is empty if nothing helps."""

    reason: str
    hint: str = ""


@dataclass(frozen=True)
class HostFiles:
    """The files that describe the host's KVM. Tests replace them."""

    device: Path = Path("/dev/kvm")
    cpuinfo: Path = Path("/proc/cpuinfo")
    registered: Path = Path("/sys/class/misc/kvm")  # while the kernel has the device


def kvm_obstacle(
    arch: Arch, files: HostFiles = HostFiles(), host: str | None = None
) -> Obstacle | None:
    """Return what keeps KVM from running guests of `arch`. None: it is worth a try."""
    host = host or host_uname()
    if host != arch.uname:
        return Obstacle(f"the host is {host}, where KVM cannot run {arch} guests")
    try:
        descriptor = os.open(files.device, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Obstacle(f"the host has no {files.device}", _without_device(files, host))
    except OSError as exc:
        reason = f"{files.device} cannot be opened: {exc.strerror}"
        return Obstacle(reason, _without_access(files.device))
    try:
        version = fcntl.ioctl(descriptor, _GET_API_VERSION)
    except OSError as exc:
        return Obstacle(f"{files.device} is not a KVM device: {exc.strerror}")
    finally:
        os.close(descriptor)
    if version != _API_VERSION:
        return Obstacle(f"{files.device} has API version {version}")
    return None


def _without_device(files: HostFiles, host: str) -> str:
    flags = _flags(files.cpuinfo)
    own = next((module for flag, module in _VENDOR_MODULES.items() if flag in flags), None)
    if files.registered.exists():
        # Only this container's /dev lacks it.
        return f"in a container: start it with --device {files.device}"
    if own:
        return (
            f"run `sudo modprobe {own}`; if the kernel refuses, switch on virtualization"
            " in the firmware (VT-x, or SVM)"
        )
    if "hypervisor" in flags:
        return (
            "the host is a virtual machine: switch on nested virtualization for it"
            " in its hypervisor (of QEMU: -cpu host)"
        )
    if host == "aarch64":
        return (
            "the kernel has to start in EL2: a virtual machine needs nested virtualization,"
            " another host a firmware that leaves EL2 to the kernel"
        )
    return "switch on virtualization in the firmware (VT-x, or SVM)"


def _flags(cpuinfo: Path) -> frozenset[str]:
    """Return the flags of the first processor; arm64 calls them Features."""
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _without_access(device: Path) -> str:
    status = device.stat()
    user = user_name()
    if status.st_gid == 0 or not status.st_mode & stat.S_IWGRP:
        return (
            f"run `sudo chgrp {_GROUP} {device} && sudo chmod 660 {device}`"
            f" and `sudo usermod -aG {_GROUP} {user}`, then log in again"
        )
    group, members = _group(status.st_gid)
    if user in members:
        return f"{user} is in the group {group}, but this session began before: log in again"
    return f"it is for the group {group}: run `sudo usermod -aG {group} {user}`, then log in again"


def _group(number: int) -> tuple[str, list[str]]:
    """Return a group's name and members. A container may lack the name."""
    try:
        entry = grp.getgrgid(number)
    except KeyError:
        return str(number), []
    return entry.gr_name, entry.gr_mem
