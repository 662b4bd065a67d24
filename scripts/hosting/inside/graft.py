# SPDX-License-Identifier: GPL-2.0
"""Put prebuilt kernels into the cache of the user who runs this, under the keys of this host.

A kernel's key names the compiler, and here it may be another version. What the host can make in
seconds is not brought: the programs, the image, and the program that packs it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from testbed.arch import ARCHES
from testbed.context import Context
from testbed.kernel.build import KernelBuilder, open_builder
from testbed.kernel.builddir import BuildDir
from testbed.kernel.modules import build_guest_side
from testbed.kernel.series import Series
from testbed.lab.prepared import request_kernel
from testbed.process import run
from testbed.progress import SilentProgress
from testbed.settings import default_settings_file, load_settings

# The archive is out of reach, and the answers about it may be old.
_SETTINGS = "archive_max_age = 1_000_000.0\n"


class Grafting(KernelBuilder):
    """A builder whose entries are copies of prebuilt ones."""

    seed: Path

    def entry(self, kind: str, key: str, make: Callable[[Path, BuildDir], None]) -> Path:
        def copy(scratch: Path) -> None:
            shutil.copytree(self.seed / kind, scratch, symlinks=True, dirs_exist_ok=True)
            if kind == "kernel":
                program = scratch / "gen_init_cpio"
                program.unlink()
                run(["gcc", "-O2", "-o", program, self.seed.parent / "gen_init_cpio.c"])

        return self.ctx.cache.get(kind, key, copy)


def graft(seed: Path) -> None:
    settings_file = default_settings_file()
    settings_file.parent.mkdir(parents=True, exist_ok=True)
    settings_file.write_text(_SETTINGS)
    ctx = Context.of(load_settings(), SilentProgress())
    shutil.copytree(seed / "cache", ctx.cache.root, symlinks=True, dirs_exist_ok=True)
    for name in [name for name in ARCHES if (seed / name).exists()]:
        request = request_kernel(name, Series(), ctx)
        with ExitStack() as stack, open_builder(request, ctx) as opened:
            builder = Grafting(request, opened.compiler, opened.asked, ctx, stack)
            builder.seed = seed / name
            kernel = builder.kernel()
            build_guest_side(kernel, builder)
        print(f"{name}: {kernel.release} as {kernel.key} ({'; '.join(builder.compiler.versions)})")


if __name__ == "__main__":
    graft(Path(sys.argv[1]))
