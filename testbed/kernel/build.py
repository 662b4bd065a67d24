# SPDX-License-Identifier: GPL-2.0
"""Configure and compile the kernel of a request, and keep it under one content key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.kernel.builddir import BuildDir, CompileStats, open_build_dir
from testbed.kernel.configure import configure, read_fragments
from testbed.kernel.kconfig import Asked, canonical, fragment_text, parse_config
from testbed.kernel.kcov import kcov_words
from testbed.kernel.make import REPRODUCIBLE
from testbed.kernel.release import name_file, name_release
from testbed.kernel.request import Kernel, KernelRequest, load_kernel
from testbed.kernel.toolchain import Compiler, find_compiler

__all__ = ["Kernel", "KernelBuilder", "KernelRequest", "build_kernel", "open_builder"]

# Part of every key: entries of an older layout are never used.
_LAYOUT = "3"

# Copied from the build directory to an entry.
_ARTEFACTS = ("vmlinux", "System.map", "Module.symvers", ".config")


def build_kernel(request: KernelRequest, ctx: Context) -> Kernel:
    """Return the requested kernel. Build it unless the cache has it.

    Raises:
        SetupError: a tool, a fragment or a patch is missing.
        ConfigError: fragments contradict each other, or a symbol did not survive.
        PatchError: a patch of the series does not apply.
        BuildError: the tree does not compile. It names the first error and the whole log.
        InfraError: the disk is full, or the compiler was killed.
    """
    with open_builder(request, ctx) as builder:
        return builder.kernel()


@contextmanager
def open_builder(request: KernelRequest, ctx: Context) -> Iterator[KernelBuilder]:
    """Open the builder of a kernel and its modules. The block's end releases its build directory.

    Raises:
        SetupError: a tool or a fragment is missing.
        ConfigError: fragments contradict each other.
    """
    asked = read_fragments(*request.ranks)
    compiler = find_compiler(request.toolchain, request.arch)
    with ExitStack() as stack:
        yield KernelBuilder(request, compiler, asked, ctx, stack)


@dataclass
class KernelBuilder:
    """Builds a kernel and its modules in one build directory, opened when first needed.

    The directory is always locked before any cache entry. If two runs took the two locks in
    different orders, they would deadlock.
    """

    request: KernelRequest
    compiler: Compiler
    asked: Mapping[str, Asked]
    ctx: Context
    _stack: ExitStack
    _build_dir: BuildDir | None = None

    @property
    def build_dir(self) -> BuildDir:
        """The build directory of this kernel's family, with this source and series."""
        if self._build_dir is None:
            opened = open_build_dir(self.request, self.compiler, self.ctx)
            self._build_dir = self._stack.enter_context(opened)
        return self._build_dir

    def entry(self, kind: str, key: str, make: Callable[[Path, BuildDir], None]) -> Path:
        """Return a cache entry. If it is absent, `make` fills it from the build directory."""
        found = self.ctx.cache.find(kind, key)
        if found is not None:
            return found
        build_dir = self.build_dir
        return self.ctx.cache.get(kind, key, lambda entry: make(entry, build_dir))

    def kernel(self) -> Kernel:
        """Return the kernel, built unless the cache has it. Raises as build_kernel() does."""
        config = self.final_config()
        key = self.kernel_key(config)
        path = self.entry("kernel", key, lambda entry, _: self._build(entry, key, config))
        return load_kernel(self.request.arch, key, path)

    @property
    def is_built(self) -> bool:
        """Whether the cache has the kernel, so that `kernel` returns at once."""
        config = self.ctx.cache.find("config", self._config_key())
        if config is None:
            return False
        return self.ctx.cache.find("kernel", self.kernel_key(config / ".config")) is not None

    def final_config(self) -> Path:
        """Return the .config of the fragments. make runs only if the cache lacks it."""
        return self.entry("config", self._config_key(), self._configure) / ".config"

    def _config_key(self) -> str:
        series = self.request.series
        return digest(
            _LAYOUT,
            self.request.source.configuration,
            series.identity if series.shapes_configuration else "",
            self.request.arch.name,
            self.compiler.identity,
            fragment_text(self.asked),
        )

    def _configure(self, entry: Path, build_dir: BuildDir) -> None:
        with self.ctx.progress.step(f"configure {self.request}"):
            configure(build_dir.make, self.asked, entry, log=build_dir.fresh_log("configure"))

    def kernel_key(self, config: Path) -> str:
        """Return the content key. Requests that yield the same kernel have equal keys."""
        values = parse_config(config.read_text())
        return digest(
            _LAYOUT,
            self.request.source.identity,
            self.request.series.identity,
            self.request.arch.name,
            self.compiler.identity,
            canonical(values),
            canonical(REPRODUCIBLE),
            *kcov_words(values),
        )

    def _build(self, entry: Path, key: str, config: Path) -> None:
        """Build the kernel into a cache entry."""
        build_dir = self.build_dir
        log = build_dir.fresh_log(key)
        stats = build_dir.compile(key, config, title=f"compile {self.request}", log=log)
        _stage(build_dir, entry, log)
        release = _name(entry, self.request.arch.image, key)
        record = self._record(key, release, stats)
        (entry / "build.json").write_text(json.dumps(record, indent=2))

    def _record(self, key: str, release: str, stats: CompileStats) -> dict[str, object]:
        request = self.request
        return {
            "key": key,
            "release": release,
            "version": request.source.version,
            "arch": request.arch.name,
            "source": request.source.identity,
            "description": request.source.description,
            "series": list(request.series.names),
            "fragments": [str(file) for rank in request.ranks for file in rank],
            "toolchain": request.toolchain.value,
            "compiler": list(self.compiler.versions),
            "command": stats.command,
            "jobs": self.ctx.settings.jobs,
            "seconds": round(stats.seconds, 1),
            "objects": stats.objects,
            "ccache": asdict(stats.ccache),
        }


def _stage(build_dir: BuildDir, entry: Path, log: Path) -> None:
    arch = build_dir.make.compiler.arch
    for name in (*_ARTEFACTS, arch.image_path, "usr/gen_init_cpio"):
        shutil.copy2(build_dir.obj / name, entry / Path(name).name)
    modules = entry / "modules"
    build_dir.make.run(
        f"INSTALL_MOD_PATH={modules}", "modules_install", what="installing the modules", log=log
    )
    # These links point into the work directory, which another kernel will reuse.
    for link in modules.glob("lib/modules/*/*"):
        if link.is_symlink():
            link.unlink()
    shutil.copy2(log, entry / "build.log")


def _name(entry: Path, image: str, key: str) -> str:
    """Write this kernel's release into all staged files, and return the release."""
    (unnamed,) = (entry / "modules/lib/modules").iterdir()
    release = name_release(unnamed.name, key)
    installed = unnamed.rename(unnamed.with_name(release))
    for file in (entry / "vmlinux", entry / image, *installed.rglob("*.ko")):
        name_file(file, key)
    return release
