# SPDX-License-Identifier: GPL-2.0
"""A prepared kernel: one architecture's kernel with all that it needs to boot."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import Arch, find_arch
from testbed.context import Context
from testbed.flavour import Flavour, find_flavour
from testbed.image import Disk, Image, build_disks, build_image
from testbed.kernel.build import Kernel, KernelRequest, open_builder
from testbed.kernel.modules import GuestSide, build_guest_side
from testbed.kernel.series import Series
from testbed.kernel.source import Source, resolve
from testbed.settings import KERNEL_CONFIG
from testbed.vm.accel import AccelDecision, choose_accel
from testbed.vm.qemu import VmSpec, qemu_version


@dataclass(frozen=True, kw_only=True)
class PreparedKernel:
    """What `prepare` made ready on one architecture."""

    request: KernelRequest
    flavour: Flavour
    kernel: Kernel
    guest_side: GuestSide
    image: Image
    accel: AccelDecision
    qemu_version: str
    memory_mib: int
    disks: tuple[Disk, ...]
    user_dir: Path | None = None  # that the guest has at /mnt

    @property
    def arch(self) -> Arch:
        return self.request.arch

    @property
    def source(self) -> Source:
        return self.request.source

    @property
    def series(self) -> Series:
        return self.request.series

    def vm_spec(self, log_dir: Path) -> VmSpec:
        """How to start a VM of this kernel that logs into `log_dir`."""
        return VmSpec(
            kernel=self.kernel,
            image=self.image,
            accel=self.accel.accel,
            memory_mib=self.memory_mib,
            slowdown=self.flavour.slowdown,
            cmdline=self.flavour.words(self.arch),
            log_dir=log_dir,
            disks=self.disks,
            user_dir=self.user_dir,
        )

    def without_disks(self) -> PreparedKernel:
        """The same with a machine that starts sooner: QEMU makes an overlay for each disk."""
        return dataclasses.replace(self, disks=())


def prepare_kernel(
    arch_name: str,
    series: Series,
    ctx: Context,
    *,
    fragments: tuple[Path, ...] = (),
    build_dir_name: str = "",
) -> PreparedKernel:
    """Build what is missing for one architecture, and choose its accelerator.

    `fragments` have the last word over those of every kernel, as the flavour's have; with a
    `workplace` it is built apart from other kernels.

    Raises:
        SetupError: the architecture has no such flavour, or the host lacks something.
        InfraError: the host is at fault.
        TreeError: the kernel text does not build.
    """
    settings = ctx.settings
    arch = find_arch(arch_name)
    flavour = find_flavour(settings.flavour, (arch.name,))
    request = KernelRequest(
        source=resolve(settings.kernel, ctx),
        arch=arch,
        series=series,
        fragments=(*(KERNEL_CONFIG / name for name in flavour.fragments), *fragments),
        toolchain=settings.toolchain,
        build_dir_name=build_dir_name,
    )
    with open_builder(request, ctx) as builder:
        kernel = builder.kernel()
        guest_side = build_guest_side(kernel, builder)
    for name, lacks in guest_side.absent.items():
        ctx.progress.note(f"{arch}: {name}.ko is not built: the kernel has not {lacks}")
    image = build_image(kernel, guest_side, ctx)
    accel = choose_accel(kernel, image, settings, ctx.progress)
    return PreparedKernel(
        request=request,
        flavour=flavour,
        kernel=kernel,
        guest_side=guest_side,
        image=image,
        accel=accel,
        qemu_version=qemu_version(arch),
        memory_mib=settings.vm_memory_mib,
        disks=build_disks(ctx),
    )
