# SPDX-License-Identifier: GPL-2.0
"""The parts of a VM, as values that need no build."""

from __future__ import annotations

from pathlib import Path

from testbed.arch import find_arch
from testbed.image import Image
from testbed.kernel.build import Kernel
from testbed.vm.qemu import Accel, VmSpec


def kernel(arch: str = "x86_64", path: Path = Path("/kernel")) -> Kernel:
    return Kernel(
        arch=find_arch(arch), key="k", release="7.3.4-testbed-k", version="7.3.4", path=path
    )


def image(path: Path = Path("/image")) -> Image:
    return Image(
        key="i",
        path=path / "initramfs.cpio",
        host_key=path / "host_key.pub",
        client_key=path / "client_key",
        packages=path / "packages",
    )


def spec(
    arch: str = "x86_64",
    *,
    accel: Accel = Accel.TCG,
    log_dir: Path = Path("/logs"),
    slowdown: int = 1,
    cpus: int = 1,
    cmdline: tuple[str, ...] = (),
    user_dir: Path | None = None,
    user_argv: tuple[str, ...] = (),
) -> VmSpec:
    return VmSpec(
        kernel=kernel(arch),
        image=image(),
        accel=accel,
        memory_mib=512,
        log_dir=log_dir,
        slowdown=slowdown,
        cpus=cpus,
        cmdline=cmdline,
        user_dir=user_dir,
        user_argv=user_argv,
    )
