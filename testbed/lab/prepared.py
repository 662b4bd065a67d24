# SPDX-License-Identifier: GPL-2.0
"""A prepared kernel: one architecture's kernel and everything that it needs to boot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import Arch, find_arch
from testbed.context import Context
from testbed.flavour import Flavour, find_flavour
from testbed.image import Disk, Image, build_disks, build_image
from testbed.kernel.build import Kernel, KernelRequest, open_builder
from testbed.kernel.modules import GuestSide, build_guest_side
from testbed.kernel.recipeconfig import recipe_files
from testbed.kernel.series import Series
from testbed.kernel.source import Source, resolve
from testbed.settings import KERNEL_CONFIG
from testbed.vm.accel import AccelDecision, check_request, choose_accel
from testbed.vm.qemu import VmSpec, qemu_version


@dataclass(frozen=True, kw_only=True)
class PreparedKernel:
    """A kernel of one architecture, ready to boot."""

    request: KernelRequest
    flavour: Flavour
    kernel: Kernel
    guest_side: GuestSide
    image: Image
    accel: AccelDecision
    qemu_version: str
    memory_mib: int
    disks: tuple[Disk, ...]
    user_cmdline: str = ""  # the user's words for the kernel
    user_argv: tuple[str, ...] = ()  # the user's words for QEMU
    user_dir: Path | None = None  # mounted at /mnt in the guest

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
        """Return the parameters of a VM of this kernel that logs to `log_dir`."""
        return VmSpec(
            kernel=self.kernel,
            image=self.image,
            accel=self.accel.accel,
            memory_mib=self.memory_mib,
            slowdown=self.flavour.slowdown,
            cmdline=(*self.flavour.words(self.arch), *filter(None, [self.user_cmdline])),
            user_argv=self.user_argv,
            log_dir=log_dir,
            disks=self.disks,
            user_dir=self.user_dir,
        )

    def without_disks(self) -> PreparedKernel:
        """Return the same kernel without disks. Its VMs start sooner: QEMU makes no overlays."""
        return dataclasses.replace(self, disks=())


def flavour_fragments(
    flavour: Flavour, arch: Arch, recipes: Collection[str] = ()
) -> tuple[Path, ...]:
    """Return the fragments that a flavour adds to those of every kernel, as files.

    If the flavour has the drivers of recipes, these are all, or those of the names `recipes`.
    """
    drivers = recipe_files(arch, names=recipes) if flavour.recipes else ()
    return (*(KERNEL_CONFIG / name for name in flavour.fragments), *drivers)


def request_kernel(
    arch_name: str,
    series: Series,
    ctx: Context,
    fragments: tuple[Path, ...] = (),
    build_dir_name: str = "",
) -> KernelRequest:
    """Return the request of one architecture's kernel. Arguments and errors: prepare_kernel()."""
    settings = ctx.settings
    arch = find_arch(arch_name)
    flavour = find_flavour(settings.flavour, (arch.name,))
    return KernelRequest(
        source=resolve(settings.kernel, ctx),
        arch=arch,
        series=series,
        fragments=(*flavour_fragments(flavour, arch, settings.recipes), *fragments),
        user_fragments=settings.config,
        toolchain=settings.toolchain,
        build_dir_name=build_dir_name,
    )


def prepare_kernel(
    arch_name: str,
    series: Series,
    ctx: Context,
    *,
    fragments: tuple[Path, ...] = (),
    build_dir_name: str = "",
    when_compiled: Callable[[], None] = lambda: None,
) -> PreparedKernel:
    """Build what is missing for one architecture, and choose its accelerator.

    `fragments` override the fragments of every kernel, as the flavour's fragments do. With a
    `build_dir_name` the kernel is built apart from other kernels. `when_compiled` is called when
    the kernel is compiled: what follows leaves cores idle, above all a try of KVM that fails.

    Raises:
        SetupError: the architecture lacks the flavour, or the host lacks something.
        InfraError: the host is at fault.
        TreeError: the kernel text does not build.
    """
    check_request(ctx.settings)
    request = request_kernel(arch_name, series, ctx, fragments, build_dir_name)
    arch, settings = request.arch, ctx.settings
    flavour = find_flavour(settings.flavour, (arch.name,))
    with open_builder(request, ctx) as builder:
        kernel = builder.kernel()
        when_compiled()
        guest_side = build_guest_side(kernel, builder)
    for name, lacks in guest_side.absent.items():
        ctx.progress.note(f"{arch}: {name}.ko is not built: the kernel lacks {lacks}")
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
        user_cmdline=settings.cmdline,
        user_argv=settings.qemu,
    )
