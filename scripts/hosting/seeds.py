# SPDX-License-Identifier: GPL-2.0
"""Prebuilt kernels for the hosts: an emulated processor would compile for hours.

A host's cache gets them, with the guest's modules and programs, under the keys that its own
compiler yields (inside/graft.py). The image is made there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.context import Context
from testbed.image import userland
from testbed.kernel.apt import download_packages
from testbed.kernel.build import KernelRequest, open_builder
from testbed.kernel.driver import find_driver
from testbed.kernel.modules import build_guest_side
from testbed.kernel.series import Series
from testbed.kernel.source import unpack
from testbed.lab.prepared import request_kernel
from testbed.settings import CHECKOUT

# A driver for `testbed check`.
EXAMPLE = CHECKOUT / "modules" / "examples" / "pages" / "mmap_prepare"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What one kernel brings to a host: paths here, by their paths below `seed` in the host."""

    paths: dict[str, Path]

    def copy(self, target: Path) -> None:
        for name, source in self.paths.items():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(source, place)


def make_seeds(ctx: Context) -> list[Seed]:
    """Return the kernels of the settings' architectures, built unless the cache has them."""
    return [_seed(name, ctx) for name in ctx.settings.arch]


def _seed(name: str, ctx: Context) -> Seed:
    request = request_kernel(name, Series(), ctx)
    with open_builder(request, ctx) as builder:
        kernel = builder.kernel()
        guest = build_guest_side(kernel, builder)
        config = builder.final_config().parent
    (driver,) = find_driver(EXAMPLE, kernel, request, ctx).modules
    paths = {
        f"{name}/config": config,
        f"{name}/kernel": kernel.path,
        f"{name}/guest": guest.path,
        f"{name}/programs": guest.program_dir,
        f"{name}/{driver.path.name}": driver.path,
        "gen_init_cpio.c": unpack(request.source, ctx).path / "usr" / "gen_init_cpio.c",
        **dict(_archive(request, ctx)),
    }
    return Seed(paths=paths)


def _archive(request: KernelRequest, ctx: Context) -> Iterator[tuple[str, Path]]:
    """Yield the cache's answers about Debian's archive, and the guest's packages from it."""
    debs = download_packages(userland.PACKAGES, request.arch.debian, ctx)
    folder = next(iter(debs.values())).parent
    manifest = ctx.cache.root / "manifests" / f"{folder.parent.name}-{folder.name}.json"
    for path in (folder, manifest, *(ctx.cache.root / "work").glob("apt-*")):
        yield f"cache/{path.relative_to(ctx.cache.root)}", path
