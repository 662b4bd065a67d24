# SPDX-License-Identifier: GPL-2.0
"""The hosts on which the testbed is tried: Debian's releases, each on an emulated machine."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.arch import Arch, find_arch
from testbed.errors import SetupError
from testbed.suggest import suggest

# TCG's SVM does not intercept XSETBV. KVM would not see the guest's XCR0, and a guest that finds
# XSAVE would panic (arch/x86/kernel/fpu/xstate.c: "XSAVE consistency problem").
_X86_CPU = "max,-xsave,-pku"

# The user of each host, and the testbed's checkout there.
USER = "tester"
HOME = f"/home/{USER}"
CHECKOUT_INSIDE = f"{HOME}/mmap-testbed"


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host. Its processor is emulated with its virtualization, so that its own KVM works."""

    name: str
    suite: str
    python: str  # its version in the suite: pip chooses wheels by it
    arch: Arch
    kernel_package: str
    machine: str  # QEMU -machine
    cpu: str
    console: str
    devices: tuple[str, ...] = ()  # more words for QEMU, before its other devices
    cmdline: str = ""  # more words for the kernel

    def __str__(self) -> str:
        return self.name


def _amd64(name: str, suite: str, python: str) -> Host:
    return Host(
        name=name,
        suite=suite,
        python=python,
        arch=find_arch("x86_64"),
        kernel_package="linux-image-amd64",
        machine="q35",
        cpu=_X86_CPU,
        console="ttyS0",
        # An IOMMU, and a device that can be handed on to a guest.
        devices=("-device", "intel-iommu,intremap=on", "-device", "edu"),
        # On a busy machine the kernel would mistrust the TSC: every other clock is slow here.
        cmdline="intel_iommu=on tsc=reliable",
    )


HOSTS = {
    host.name: host
    for host in (
        _amd64("debian12-amd64", "bookworm", "3.11.2"),
        _amd64("debian13-amd64", "trixie", "3.13.5"),
        Host(
            name="debian13-arm64",
            suite="trixie",
            python="3.13.5",
            arch=find_arch("arm64"),
            kernel_package="linux-image-arm64",
            machine="virt,virtualization=on,gic-version=3",
            cpu="max,pauth-impdef=on",
            console="ttyAMA0",
        ),
    )
}


def find_host(name: str) -> Host:
    """Return a host by its name. Raises SetupError if there is none of that name."""
    if name not in HOSTS:
        raise SetupError(f"unknown host {name!r}", hint=suggest(name, HOSTS))
    return HOSTS[name]
