# SPDX-License-Identifier: GPL-2.0
"""The supported architectures and everything that differs between them, as one table."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from testbed.errors import SetupError
from testbed.suggest import suggest


@dataclass(frozen=True, kw_only=True)
class Arch:
    """One architecture, with the name that each tool uses for it."""

    name: str  # the testbed's name, which test ids use as well
    uname: str  # as `uname -m` prints it
    kernel_arch: str  # ARCH= on make's command line
    srcarch: str  # directory below arch/
    debian: str  # dpkg's architecture
    triplet: str  # GNU triplet; CROSS_COMPILE is this with a dash
    elf_machine: int  # e_machine of its binaries (elf.h)
    image: str  # make target and file name below arch/SRCARCH/boot
    qemu: str  # suffix of qemu-system-*
    qemu_package: str  # Debian package that provides it
    machine: str  # QEMU -machine
    tcg_machine: str  # QEMU -machine under TCG
    tcg_cpu: str  # QEMU -cpu under TCG
    console: str  # the guest's name of the serial console
    earlycon: str  # the same port, for output before its driver is up
    cmdline: str = ""  # more words for the guest's kernel

    def __str__(self) -> str:
        return self.name

    @property
    def image_path(self) -> str:
        """The path of the kernel image below the build directory."""
        return f"arch/{self.srcarch}/boot/{self.image}"


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            name="x86_64",
            uname="x86_64",
            kernel_arch="x86_64",
            srcarch="x86",
            debian="amd64",
            triplet="x86_64-linux-gnu",
            elf_machine=62,
            image="bzImage",
            qemu="x86_64",
            qemu_package="qemu-system-x86",
            machine="q35",
            tcg_machine="q35",
            # `max` has protection keys.
            tcg_cpu="max",
            console="ttyS0",
            earlycon="uart8250,io,0x3f8",
            # Otherwise the kernel waits for ten ticks of its timer, and panics if a busy host does
            # not run QEMU meanwhile (arch/x86/kernel/apic/io_apic.c, timer_irq_works()). Under KVM
            # it does not wait (arch/x86/kernel/kvm.c, paravirt_ops_setup()).
            cmdline="no_timer_check",
        ),
        Arch(
            name="arm64",
            uname="aarch64",
            kernel_arch="arm64",
            srcarch="arm64",
            debian="arm64",
            triplet="aarch64-linux-gnu",
            elf_machine=183,
            image="Image",
            qemu="aarch64",
            qemu_package="qemu-system-arm",
            # The default is GICv2, which KVM lacks on a host whose controller is a GICv3 alone.
            machine="virt,gic-version=host",
            # mte=on gives memory tags; KVM refuses it on a host without them. `max` has BTI, but
            # its default pointer authentication takes as long as half a boot.
            tcg_machine="virt,mte=on",
            tcg_cpu="max,pauth-impdef=on",
            console="ttyAMA0",
            earlycon="pl011,0x9000000",
        ),
    )
}


def find_arch(name: str) -> Arch:
    """Return the architecture that a user named.

    Raises:
        SetupError: there is no such architecture; the hint names the nearest one.
    """
    if name in ARCHES:
        return ARCHES[name]
    aliases = {alias: arch.name for arch in ARCHES.values() for alias in (arch.uname, arch.debian)}
    raise SetupError(f"unknown architecture {name!r}", hint=suggest(name, ARCHES, aliases))


def host_uname() -> str:
    """Return the host's architecture as `uname -m` prints it."""
    return platform.machine()
