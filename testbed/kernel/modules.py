"""What runs in the guest and belongs to one kernel: test modules and static programs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import Arch
from testbed.cache import Cache, digest
from testbed.errors import BuildError, CommandError
from testbed.kernel.bench import Bench
from testbed.kernel.build import Order
from testbed.kernel.diagnose import build_error, first_warning
from testbed.kernel.model import Kernel, KernelRequest
from testbed.kernel.toolchain import find_gcc
from testbed.progress import Progress
from testbed.run import run
from testbed.settings import CHECKOUT, Settings

_LAYOUT = "1"

# What a kernel must have so that a module, or all of it, can be built: modules/layer.mk looks.
NEEDS = {
    "mmap_ring": "compat_set_desc_from_vma() and __compat_vma_mmap()",
    "mmap_uio": "an mmap_prepare hook in struct uio_info",
}

# Below modules/: drivers that no guest has.
_EXAMPLES = "examples"

_CFLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class GuestSources:
    """Where the sources stand.

    modules/   one Kbuild over a folder per module; include/ has what programs share with them;
               examples/ are drivers for `testbed check`, which no guest has
    programs/  a file or a folder of files per program
    """

    modules: Path = CHECKOUT / "modules"
    programs: Path = CHECKOUT / "tests" / "probes"

    @property
    def program_files(self) -> dict[str, list[Path]]:
        """The C files of each program, by its name."""
        files = {file.stem: [file] for file in sorted(self.programs.glob("*.c"))}
        folders = sorted({file.parent for file in self.programs.glob("*/*.c")})
        return files | {folder.name: sorted(folder.glob("*.c")) for folder in folders}

    @property
    def identity(self) -> str:
        """Equal for equal sources."""
        return digest(*(part for top in (self.modules, self.programs) for part in _contents(top)))


@dataclass(frozen=True)
class GuestSide:
    """Modules and programs that were built for one kernel: an entry of the cache."""

    path: Path

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
        return tuple(sorted((self.path / "programs").iterdir()))


def build_guest_side(
    kernel: Kernel,
    request: KernelRequest,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    *,
    sources: GuestSources | None = None,
) -> GuestSide:
    """The test modules and programs for a kernel that `request` came to.

    Raises:
        BuildError: one does not compile, or compiles with a warning.
        SetupError: a tool is missing.
    """
    texts = sources or GuestSources()

    def make(entry: Path) -> None:
        order = Order.of(request, settings, cache, progress)
        with order.open_bench() as bench, progress.step(f"modules and programs for {request}"):
            log = bench.fresh_log(f"guest-{kernel.key}")
            bring_to(bench, kernel, request, log)
            _build_modules(bench, texts, entry / "modules", log)
            _build_programs(kernel.arch, texts, entry / "programs", log)
            shutil.copy2(log, entry / "build.log")

    key = digest(_LAYOUT, kernel.key, texts.identity)
    return GuestSide(cache.get("guest", key, make))


def _contents(top: Path) -> Iterator[str]:
    for file in sorted(path for path in top.rglob("*") if path.is_file()):
        if file.relative_to(top).parts[0] == _EXAMPLES:
            continue
        yield str(file.relative_to(top))
        yield hashlib.sha256(file.read_bytes()).hexdigest()


def bring_to(bench: Bench, kernel: Kernel, request: KernelRequest, log: Path) -> None:
    """Modules are built in the kernel's own build directory, which may hold another by now."""
    if not bench.holds(kernel.key):
        bench.compile(kernel.key, kernel.config, title=f"compile {request} again", log=log)


def _build_modules(bench: Bench, sources: GuestSources, target: Path, log: Path) -> None:
    target.mkdir()
    # A copy at the same place each time: make writes beside the sources, and ccache
    # and the objects know their paths.
    copy = bench.root / "modules"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sources.modules, copy, ignore=shutil.ignore_patterns(_EXAMPLES))
    bench.make.run(f"M={copy}", "W=1", "KCFLAGS=-Werror", "modules", what="the modules", log=log)
    _refuse_warnings(log)
    for module in copy.glob("*/*.ko"):
        shutil.copy2(module, target)


def _refuse_warnings(log: Path) -> None:
    """modpost warns of what -Werror does not see."""
    warning = first_warning(log.read_text(errors="replace"))
    if warning is not None:
        raise BuildError(f"the modules build with a warning: {warning}", logs=(log,))


def _build_programs(arch: Arch, sources: GuestSources, target: Path, log: Path) -> None:
    target.mkdir()
    gcc = find_gcc(arch)
    for name, files in sources.program_files.items():
        include = sources.modules / "include"
        try:
            run([gcc, *_CFLAGS, "-I", include, "-o", target / name, *files], log=log)
        except CommandError as exc:
            raise build_error(f"the program {name}", log) from exc
