# SPDX-License-Identifier: GPL-2.0
"""Build directories: the source with the series applied, the objects, and the compiler."""

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
from testbed.kernel.kconfig import parse_config
from testbed.kernel.kcov import kcov_words
from testbed.kernel.make import Make, require_plain, target_of
from testbed.kernel.recipeconfig import SUFFIX
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
from testbed.pace import Pace
from testbed.progress import Progress

# Measured on 7.3.4: 240 MB for objects, 25 MB for directories of the link tree, 150 MB for the
# finished kernel and ccache. Doubled, because a tree may be larger.
_FRESH_BUILD = 800_000_000  # bytes

# Output lines of a full build of 7.3.4. Used until this work directory has its own count.
_LIKELY_OBJECTS = 1900

# Seconds of a full build of 7.3.4 on one processor, for a host that has not built a kernel yet.
_LIKELY_SECONDS = 680.0

# The compiler cache may take this share of the whole cache.
_CCACHE_SHARE = 10


@dataclass(frozen=True)
class CompileStats:
    """Statistics of one run of make."""

    seconds: float
    objects: int
    ccache: CcacheUse
    command: str


@dataclass(frozen=True)
class BuildDir:
    """One work directory, locked by this process."""

    root: Path
    make: Make
    progress: Progress
    pace: Pace  # seconds of a full build, times its jobs

    @property
    def src(self) -> Path:
        return self.make.src

    @property
    def obj(self) -> Path:
        return self.make.obj

    def fresh_log(self, name: str) -> Path:
        """Create an empty log, which stays in the work directory."""
        log = self.root / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("")
        return log

    def holds(self, key: str, *, when: float = math.inf) -> bool:
        """Whether the directory holds all objects of that kernel, and did so at time `when`.

        `when` is in seconds since the epoch.
        """
        built = self.root / "built"
        return built.exists() and built.read_text() == key and built.stat().st_mtime <= when

    def compile(self, key: str, config: Path, *, title: str, log: Path) -> CompileStats:
        """Compile that kernel. make compiles only the objects that differ.

        Raises:
            BuildError: the tree does not compile.
            InfraError: the compiler was killed, or the disk is full.
        """
        (self.root / "built").unlink(missing_ok=True)
        _copy_if_changed(config, self.obj / ".config")
        gzip = f"KGZIP=sh {self._gzip_for(key)}"
        kcov = kcov_words(parse_config(config.read_text()))
        image = self.make.compiler.arch.image
        words = (f"LOCALVERSION={UNNAMED}", gzip, *kcov, image, "modules")
        stats = self.root / "ccache-stats"
        stats.unlink(missing_ok=True)
        whole = not ((self.obj / "vmlinux").exists() or self._reached.exists())
        started = time.monotonic()
        objects = self._make(words, title, log)
        (self.root / "built").write_text(key)
        seconds, use = time.monotonic() - started, read_ccache_use(stats)
        if whole and use.misses >= use.hits:  # others would promise a short time to the next build
            self.pace.keep(seconds * self.make.jobs)
        return CompileStats(seconds, objects, use, self.make.command(*words))

    @property
    def _reached(self) -> Path:
        """The file with the number of objects that an interrupted build has made."""
        return self.root / "objects-reached"

    def _gzip_for(self, key: str) -> Path:
        """Return the gzip script that writes the release into the image.

        Delete the output of the script of another kernel.
        """
        program, text = self.root / "gzip.sh", naming_gzip(key)
        if not program.exists() or program.read_text() != text:
            for packed in self.obj.glob("arch/*/boot/compressed/vmlinux.bin.gz"):
                packed.unlink()
            write_whole(program, text)
        return program

    def _make(self, words: tuple[str, ...], title: str, log: Path) -> int:
        """Run make with a progress step, and return the number of objects made."""
        whole, reached = self.root / "objects", self._reached
        fresh = not (self.obj / "vmlinux").exists()
        before = _number(reached) if fresh else 0  # objects of an interrupted build
        total = (_number(whole) or _LIKELY_OBJECTS) if fresh else None
        made = 0
        with self.progress.step(title, total) as step:
            if fresh:
                step.update(before, total=total, seconds=self.pace.read() / self.make.jobs)

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
    """Open the build directory of a kernel's family, with the request's source and series.

    Wait while another process holds it.

    Raises:
        SetupError: make cannot handle the name of the cache.
        InfraError: the disk lacks the space for a build.
        PatchError: a patch of the series does not apply.
    """
    require_plain(ctx.cache.root)
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
        work = f"compile {'-'.join(_sort(request))}"
        pace = Pace.of(ctx.settings, work, _LIKELY_SECONDS)
        yield BuildDir(root, make, ctx.progress, pace)


def _sort(request: KernelRequest) -> list[str]:
    """Return words for the sort of a kernel: those of one sort have nearly the same objects."""
    flavours = [file.stem for file in request.fragments if file.suffix != SUFFIX] or ["base"]
    return [request.arch.name, request.toolchain, *flavours]


def _work_name(request: KernelRequest, tree: SourceTree) -> str:
    """Return the name of the work directory, which similar kernels share to reuse objects.

    Objects contain the absolute path of their source. So a text that is built in place and a
    patched copy of it are two families.
    """
    direct = tree.in_place and not request.series.patches
    where = digest(request.source.family, "direct" if direct else "copy")
    apart = ["config"] if request.user_fragments else []
    apart += [request.build_dir_name] if request.build_dir_name else []
    return "-".join((*_sort(request), *apart, where))


def _ccache(root: Path, ctx: Context) -> dict[str, str]:
    if not have_ccache():
        ctx.progress.note("ccache is not installed, compiling without it (apt install ccache)")
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
    """Copy a .config only if it differs: with a new time, kbuild checks every object again."""
    if not target.exists() or target.read_bytes() != origin.read_bytes():
        shutil.copyfile(origin, target)
