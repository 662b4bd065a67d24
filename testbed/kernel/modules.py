# SPDX-License-Identifier: GPL-2.0
"""What runs in the guest: test modules, which belong to one kernel, and static programs."""

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

# What a kernel must have so that a module, or all of it, can be built: modules/layer.mk looks.
NEEDS = {
    "mmap_ring": "compat_set_desc_from_vma() and __compat_vma_mmap()",
    "mmap_uio": "an mmap_prepare hook in struct uio_info",
}


@dataclass(frozen=True)
class GuestSide:
    """Modules that were built for one kernel, an entry of the cache, and the programs."""

    path: Path
    program_dir: Path

    @property
    def modules(self) -> tuple[Path, ...]:
        return tuple(sorted((self.path / "modules").glob("*.ko")))

    @property
    def absent(self) -> dict[str, str]:
        """The modules that were left out, and what the kernel lacks for them."""
        built = {module.stem for module in self.modules}
        return {name: lacks for name, lacks in NEEDS.items() if name not in built}

    @property
    def programs(self) -> tuple[Path, ...]:
        return tuple(sorted(self.program_dir.iterdir()))


def build_guest_side(
    kernel: Kernel, builder: KernelBuilder, *, sources: GuestSources | None = None
) -> GuestSide:
    """The test modules and programs for a kernel that `builder` has built.

    Raises:
        BuildError: one does not compile, or compiles with a warning.
        SetupError: a tool is missing.
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
    """Modules are built in the kernel's own build directory, which may hold another by now."""
    if not build_dir.holds(kernel.key):
        build_dir.compile(kernel.key, kernel.config, title=f"compile {request} again", log=log)


def _build_modules(build_dir: BuildDir, sources: GuestSources, log: Path) -> None:
    # make writes beside the sources. What it has made of the last kernel's stays, so that it
    # compiles again only what headers, configuration or symbols have changed.
    copy = build_dir.root / "modules"
    try:
        _bring_up_to_date(sources.modules, copy)
        words = (f"M={copy}", "W=1", "KCFLAGS=-Werror", "modules")
        build_dir.make.run(*words, what="the modules", log=log)
        _refuse_warnings(log)
    except BaseException:
        # What was warned of once is not warned of again.
        shutil.rmtree(copy, ignore_errors=True)
        raise


def _built_modules(build_dir: BuildDir) -> list[Path]:
    """Others may lie there as well, of a kernel that has more of the layer."""
    copy = build_dir.root / "modules"
    order = (copy / "modules.order").read_text().split()
    return [(copy / name).with_suffix(".ko") for name in order]


def _bring_up_to_date(origin: Path, copy: Path) -> None:
    """Make the copy's sources those of `origin`: a file that is the same keeps its time."""
    names = {str(path.relative_to(origin)) for path in source_files(origin)}
    known = copy / ".sources"
    if known.exists() and not set(known.read_text().splitlines()) <= names:
        shutil.rmtree(copy)  # of what is gone, what was made of it has to go as well
    for name in names:
        target = copy / name
        text = (origin / name).read_bytes()
        if not target.exists() or target.read_bytes() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
    known.write_text("".join(f"{name}\n" for name in sorted(names)))


def _refuse_warnings(log: Path) -> None:
    """modpost warns of what -Werror does not see."""
    warning = first_warning(log.read_text(errors="replace"))
    if warning is not None:
        raise BuildError(f"the modules build with a warning: {warning}", logs=(log,))
