# SPDX-License-Identifier: GPL-2.0
"""Requests for kernels, and the kernels that were built."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from testbed.arch import Arch
from testbed.kernel.kconfig import parse_config
from testbed.kernel.series import Series
from testbed.kernel.source import Source
from testbed.settings import KERNEL_CONFIG, Toolchain


@dataclass(frozen=True, kw_only=True)
class KernelRequest:
    """All inputs of a kernel, before anything is unpacked or configured."""

    source: Source
    arch: Arch
    series: Series = field(default_factory=Series)
    fragments: tuple[Path, ...] = ()  # take precedence over the fragments of every kernel
    user_fragments: tuple[Path, ...] = ()  # take precedence over all others
    toolchain: Toolchain = Toolchain.GCC
    build_dir_name: str = ""  # builds in a separate work directory of that name
    config_dir: Path = KERNEL_CONFIG

    @property
    def common_fragments(self) -> tuple[Path, ...]:
        """The fragments of every kernel for the architecture."""
        return self.config_dir / "base.config", self.config_dir / f"{self.arch}.config"

    @property
    def ranks(self) -> tuple[tuple[Path, ...], ...]:
        """All fragments by rank. Those of a later rank override those of an earlier one."""
        return self.common_fragments, self.fragments, self.user_fragments

    def __str__(self) -> str:
        return f"{self.source.version} for {self.arch}"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A finished kernel: an entry of the cache.

    path/IMAGE              bzImage or Image
    path/vmlinux System.map Module.symvers .config
    path/build.log          the output of make
    path/build.json         the inputs, tools and duration of the build
    path/gen_init_cpio      packs an initramfs; runs on the host
    path/modules/           lib/modules/RELEASE, with depmod's files
    """

    arch: Arch
    key: str
    release: str  # the output of uname -r, such as 7.3.4-testbed-0123456789abcdef
    version: str  # of the source
    path: Path

    @property
    def image(self) -> Path:
        return self.path / self.arch.image

    @property
    def vmlinux(self) -> Path:
        return self.path / "vmlinux"

    @property
    def system_map(self) -> Path:
        return self.path / "System.map"

    @property
    def config(self) -> Path:
        return self.path / ".config"

    @property
    def log(self) -> Path:
        return self.path / "build.log"

    @property
    def build_json(self) -> Path:
        return self.path / "build.json"

    @property
    def gen_init_cpio(self) -> Path:
        return self.path / "gen_init_cpio"

    @property
    def modules(self) -> Path:
        """A tree with lib/modules/RELEASE, to be copied to the guest's root."""
        return self.path / "modules"

    def symbol(self, name: str) -> str:
        """Return the value of a configuration symbol: y, m, n, a number, or a quoted string."""
        return parse_config(self.config.read_text()).get(name.removeprefix("CONFIG_"), "n")


def load_kernel(arch: Arch, key: str, path: Path) -> Kernel:
    """Load the kernel of a cache entry."""
    record = json.loads((path / "build.json").read_text())
    return Kernel(
        arch=arch, key=key, release=record["release"], version=record["version"], path=path
    )
