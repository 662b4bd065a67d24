# SPDX-License-Identifier: GPL-2.0
"""Build the test modules, which belong to one kernel, and the guest's static programs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.errors import BuildError
from testbed.kernel.build import KernelBuilder
from testbed.kernel.builddir import BuildDir
from testbed.kernel.diagnose import first_warning
from testbed.kernel.guestsources import GuestSources, source_files
from testbed.kernel.programs import build_programs
from testbed.kernel.release import copy_named
from testbed.kernel.request import Kernel, KernelRequest

_LAYOUT = "3"

# Parts of the kernel that a module needs, at least for its full build. modules/layer.mk looks for
# them.
NEEDS = {
    "mmap_ring": "compat_set_desc_from_vma() and __compat_vma_mmap()",
    "mmap_uio": "an mmap_prepare hook in struct uio_info",
}


@dataclass(frozen=True)
class GuestSide:
    """The modules for one kernel, which are a cache entry, and the programs."""

    path: Path
    program_dir: Path

    @property
    def modules(self) -> tuple[Path, ...]:
        return tuple(sorted((self.path / "modules").glob("*.ko")))

    @property
    def absent(self) -> dict[str, str]:
        """The modules that were not built, each with the missing part of the kernel."""
        built = {module.stem for module in self.modules}
        return {name: lacks for name, lacks in NEEDS.items() if name not in built}

    @property
    def programs(self) -> tuple[Path, ...]:
        return tuple(sorted(self.program_dir.iterdir()))


def build_guest_side(
    kernel: Kernel, builder: KernelBuilder, *, sources: GuestSources | None = None
) -> GuestSide:
    """Build the test modules and programs for a kernel that `builder` has built.

    Raises:
        BuildError: a module does not compile, or compiles with a warning.
        SetupError: a tool is missing, or a program does not compile.
    """
    texts, ctx = sources or GuestSources(), builder.ctx

    def make(entry: Path, build_dir: BuildDir) -> None:
        with ctx.progress.step(f"modules for {builder.request}"):
            log = build_dir.fresh_log(f"guest-{kernel.key}")
            bring_to(build_dir, kernel, builder.request, log)
            _build_modules(build_dir, texts, log)
            (entry / "modules").mkdir()
            for module in _built_modules(build_dir):
                copy_named(module, entry / "modules", kernel.key)
            shutil.copy2(log, entry / "build.log")

    key = digest(_LAYOUT, kernel.key, texts.modules_identity)
    programs = build_programs(kernel.arch, texts, ctx)
    return GuestSide(builder.entry("guest", key, make), programs)


def bring_to(build_dir: BuildDir, kernel: Kernel, request: KernelRequest, log: Path) -> None:
    """Compile the kernel again if its build directory now holds another one.

    Modules are built in the kernel's own build directory.
    """
    if not build_dir.holds(kernel.key):
        build_dir.compile(kernel.key, kernel.config, title=f"compile {request} again", log=log)


def _build_modules(build_dir: BuildDir, sources: GuestSources, log: Path) -> None:
    # Build in a copy, because make writes beside the sources. The copy keeps the objects of the
    # last kernel: make compiles again only if headers, configuration or symbols have changed.
    copy = build_dir.root / "modules"
    try:
        _bring_up_to_date(sources.modules, copy)
        words = (f"M={copy}", "W=1", "KCFLAGS=-Werror", "modules")
        build_dir.make.run(*words, what="the modules", log=log)
        _refuse_warnings(log)
    except BaseException:
        # A second make would not repeat the warnings.
        shutil.rmtree(copy, ignore_errors=True)
        raise


def _built_modules(build_dir: BuildDir) -> list[Path]:
    """Return the modules of this build.

    The copy may also have modules of an earlier kernel with more parts of the layer.
    """
    copy = build_dir.root / "modules"
    order = (copy / "modules.order").read_text().split()
    return [(copy / name).with_suffix(".ko") for name in order]


def _bring_up_to_date(origin: Path, copy: Path) -> None:
    """Update the copy's sources from `origin`. An unchanged file keeps its time."""
    names = {str(path.relative_to(origin)) for path in source_files(origin)}
    known = copy / ".sources"
    if known.exists() and not set(known.read_text().splitlines()) <= names:
        shutil.rmtree(copy)  # the objects of a deleted source must go too
    for name in names:
        target = copy / name
        text = (origin / name).read_bytes()
        if not target.exists() or target.read_bytes() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
    known.write_text("".join(f"{name}\n" for name in sorted(names)))


def _refuse_warnings(log: Path) -> None:
    """Raise BuildError for warnings of modpost, which -Werror does not cover."""
    warning = first_warning(log.read_text(errors="replace"))
    if warning is not None:
        raise BuildError(f"the modules compile with a warning: {warning}", logs=(log,))
