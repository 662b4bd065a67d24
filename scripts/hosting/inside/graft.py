# SPDX-License-Identifier: GPL-2.0
"""Put prebuilt kernels into the cache of the user who runs this, under the keys of this host.

A kernel's key names the compiler, and here it may be another version. What the host can make in
seconds is not brought: the image, and the program that packs it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from testbed.arch import ARCHES
from testbed.cache import Cache, Verify
from testbed.context import Context
from testbed.errors import InfraError
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


class SeededCache(Cache):
    """A cache that copies an entry from the seed, if the seed has its kind."""

    seed: Path

    def get(
        self,
        kind: str,
        key: str,
        make: Callable[[Path], None],
        *,
        verify: Verify = Verify.DIGEST,
    ) -> Path:
        brought = self.seed / kind

        def copy(scratch: Path) -> None:
            shutil.copytree(brought, scratch, symlinks=True, dirs_exist_ok=True)
            if (program := scratch / "gen_init_cpio").exists():
                program.unlink()
                run(["gcc", "-O2", "-o", program, self.seed.parent / "gen_init_cpio.c"])

        return super().get(kind, key, copy if brought.exists() else make, verify=verify)


class Grafting(KernelBuilder):
    """A builder whose entries are all brought: it opens no build directory."""

    def entry(self, kind: str, key: str, make: Callable[[Path, BuildDir], None]) -> Path:
        return self.ctx.cache.get(kind, key, _refuse)


def _refuse(scratch: Path) -> None:
    raise InfraError(f"the round did not bring {scratch}")


def graft(seed: Path) -> None:
    settings_file = default_settings_file()
    settings_file.parent.mkdir(parents=True, exist_ok=True)
    settings_file.write_text(_SETTINGS)
    settings = load_settings()
    cache = SeededCache(settings.cache_dir, settings.cache_limit)
    ctx = Context(settings, cache, SilentProgress())
    shutil.copytree(seed / "cache", cache.root, symlinks=True, dirs_exist_ok=True)
    for name in [name for name in ARCHES if (seed / name).exists()]:
        cache.seed = seed / name
        request = request_kernel(name, Series(), ctx)
        with ExitStack() as stack, open_builder(request, ctx) as opened:
            builder = Grafting(request, opened.compiler, opened.asked, ctx, stack)
            kernel = builder.kernel()
            build_guest_side(kernel, builder)
        print(f"{name}: {kernel.release} as {kernel.key} ({'; '.join(builder.compiler.versions)})")


if __name__ == "__main__":
    graft(Path(sys.argv[1]))
