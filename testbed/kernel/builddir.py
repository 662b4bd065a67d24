# SPDX-License-Identifier: GPL-2.0
"""A kernel's workplace: its source with the series applied, its objects, its compiler."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.files import write_whole
from testbed.kernel.make import Make, target_of
from testbed.kernel.release import UNNAMED, naming_gzip
from testbed.kernel.request import KernelRequest
from testbed.kernel.source import SourceTree, unpack
from testbed.kernel.toolchain import (
    CcacheUse,
    Compiler,
    ccache_environment,
    have_ccache,
    read_ccache_use,
)
from testbed.kernel.worktree import prepare_worktree
from testbed.progress import Progress

# Objects 240 MB, directories of the link tree 25 MB, the finished kernel and ccache
# 150 MB: measured on 7.3.4, doubled because a tree may be larger.
_FRESH_BUILD = 800_000_000  # bytes

# Lines of a build from nothing of 7.3.4; used until this work directory has its own figure.
_LIKELY_OBJECTS = 1900

# The compiler cache may take this share of the whole cache.
_CCACHE_SHARE = 10


@dataclass(frozen=True)
class CompileStats:
    """What one run of make took."""

    seconds: float
    objects: int
    ccache: CcacheUse
    command: str


@dataclass(frozen=True)
class BuildDir:
    """One work directory, held by this process alone."""

    root: Path
    make: Make
    progress: Progress

    @property
    def src(self) -> Path:
        return self.make.src

    @property
    def obj(self) -> Path:
        return self.make.obj

    def fresh_log(self, name: str) -> Path:
        """An empty log that survives in the work directory."""
        log = self.root / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("")
        return log

    def holds(self, key: str, *, when: float = math.inf) -> bool:
        """Whether the objects are those of that kernel, complete, and were so at that time.

        `when` is in seconds since the epoch.
        """
        built = self.root / "built"
        return built.exists() and built.read_text() == key and built.stat().st_mtime <= when

    def compile(self, key: str, config: Path, *, title: str, log: Path) -> CompileStats:
        """Bring the objects to that kernel: only what differs is compiled.

        Raises:
            BuildError: the tree does not compile.
            InfraError: the host is at fault: the compiler was killed, the disk is full.
        """
        (self.root / "built").unlink(missing_ok=True)
        _copy_if_changed(config, self.obj / ".config")
        gzip = f"KGZIP=sh {self._gzip_for(key)}"
        words = (f"LOCALVERSION={UNNAMED}", gzip, self.make.compiler.arch.image, "modules")
        stats = self.root / "ccache-stats"
        stats.unlink(missing_ok=True)
        started = time.monotonic()
        objects = self._make(words, title, log)
        (self.root / "built").write_text(key)
        seconds = time.monotonic() - started
        return CompileStats(seconds, objects, read_ccache_use(stats), self.make.command(*words))

    def _gzip_for(self, key: str) -> Path:
        """The script that names the image; what it has made for another kernel is gone."""
        program, text = self.root / "gzip.sh", naming_gzip(key)
        if not program.exists() or program.read_text() != text:
            for packed in self.obj.glob("arch/*/boot/compressed/vmlinux.bin.gz"):
                packed.unlink()
            write_whole(program, text)
        return program

    def _make(self, words: tuple[str, ...], title: str, log: Path) -> int:
        """Run make with a step that counts objects; how many it made."""
        whole, reached = self.root / "objects", self.root / "objects-reached"
        fresh = not (self.obj / "vmlinux").exists()
        before = _number(reached) if fresh else 0  # by a build that was interrupted
        total = (_number(whole) or _LIKELY_OBJECTS) if fresh else None
        made = 0
        with self.progress.step(title, total) as step:

            def count(line: str) -> None:
                nonlocal made
                target = target_of(line)
                if target is not None:
                    made += 1
                    done = before + made
                    step.update(done, total=total and max(done, total), note=target)

            try:
                self.make.run(*words, what=title, log=log, on_line=count)
            finally:
                if fresh:
                    reached.write_text(str(before + made))
        if fresh:
            reached.rename(whole)
        return made


@contextmanager
def open_build_dir(request: KernelRequest, compiler: Compiler, ctx: Context) -> Iterator[BuildDir]:
    """The workplace of a kernel's family, at that source and series; waits while another has it.

    Raises:
        InfraError: the disk has no room for a build.
        PatchError: a patch of the series does not apply.
    """
    ctx.cache.require_space(_FRESH_BUILD, f"building {request}")
    tree = unpack(request.source, ctx)
    with ctx.cache.work(_work_name(request, tree)) as root:
        worktree = prepare_worktree(root, tree, request.series)
        make = Make(
            src=worktree.src,
            obj=worktree.obj,
            compiler=compiler,
            jobs=ctx.settings.jobs,
            ccache=_ccache(root, ctx),
        )
        yield BuildDir(root, make, ctx.progress)


def _work_name(request: KernelRequest, tree: SourceTree) -> str:
    """Kernels that are alike share a work directory, so that one is built from the other.

    Objects know the absolute path of their source: a text that is built from where it is
    and a copy of it with patches are two families.
    """
    flavours = [file.stem for file in request.fragments] or ["base"]
    direct = tree.in_place and not request.series.patches
    where = digest(request.source.family, "direct" if direct else "copy")
    apart = [request.build_dir_name] if request.build_dir_name else []
    return "-".join((request.arch.name, request.toolchain, *flavours, *apart, where))


def _ccache(root: Path, ctx: Context) -> dict[str, str]:
    if not have_ccache():
        ctx.progress.note("ccache is not installed: compiling without it (apt install ccache)")
        return {}
    return ccache_environment(
        directory=ctx.cache.ccache,
        base=root,
        limit=ctx.cache.limit // _CCACHE_SHARE,
        stats=root / "ccache-stats",
    )


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def _copy_if_changed(origin: Path, target: Path) -> None:
    """A .config with a new time makes kbuild look at every object again."""
    if not target.exists() or target.read_bytes() != origin.read_bytes():
        shutil.copyfile(origin, target)
