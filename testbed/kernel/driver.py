# SPDX-License-Identifier: GPL-2.0
"""A driver of the user's own: modules that are built for a kernel from a copy of a folder."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import BuildError, SetupError
from testbed.kernel.build import open_builder
from testbed.kernel.builddir import BuildDir
from testbed.kernel.diagnose import error_lines, first_warning
from testbed.kernel.modules import bring_to
from testbed.kernel.release import UNNAMED, copy_named, nameless
from testbed.kernel.request import Kernel, KernelRequest

_LAYOUT = "2"

# What an earlier build has left beside the sources, and what is none.
_LEFT_OUT = (
    *("*.o", "*.ko", "*.mod", "*.mod.c", ".*.cmd", "*.order", "Module.symvers", ".git"),
    "__pycache__",
)

_MAKEFILES = ("Kbuild", "Makefile")

# Strings of a module's .modinfo section (scripts/mod/modpost.c).
_MODINFO = re.compile(rb"(?<=\0)(name|depends|vermagic)=([^\0]*)\0")

# Where an ELF header says for which processor its code is; the bytes are in that one's order.
_E_MACHINE = slice(18, 20)

_CURE = "name the folder of its source: it is built for the kernel under test"

_SHOWN = 20  # lines of errors

# The agent takes no longer request (docs/agent.md).
_MOST = (16 << 20) - 4096  # bytes


@dataclass(frozen=True)
class Module:
    """One kernel module, and what it says of itself."""

    path: Path
    name: str  # as /proc/modules has it
    depends: tuple[str, ...]  # on other modules
    release: str  # the kernel that it was built for


@dataclass(frozen=True)
class Driver:
    """The modules of a driver in the order in which they are loaded."""

    modules: tuple[Module, ...]
    warning: str = ""  # the first one that its build printed

    @property
    def name(self) -> str:
        """The module that was loaded last, on which no other depends."""
        return self.modules[-1].name

    @property
    def needs(self) -> tuple[str, ...]:
        """Modules of the kernel that must be there before."""
        own = {module.name for module in self.modules}
        needed = (name for module in self.modules for name in module.depends)
        return tuple(dict.fromkeys(name for name in needed if name not in own))


def find_driver(path: Path, kernel: Kernel, request: KernelRequest, ctx: Context) -> Driver:
    """The driver in a folder, built for the kernel, or in a .ko that was built for it.

    The folder is never written to.

    Raises:
        SetupError: there is neither, or the .ko is another kernel's.
        BuildError: it does not compile, or makes no module.
    """
    if path.is_file():
        return load_order([_take(path, kernel, request, ctx)])
    if not any((path / name).is_file() for name in _MAKEFILES):
        raise SetupError(
            f"{path} is neither a .ko nor a folder with a {' or a '.join(_MAKEFILES)}",
            hint="a module's folder has one that sets obj-m",
        )
    built = build_driver(path, kernel, request, ctx)
    driver = load_order([read_module(file, kernel.release) for file in sorted(built.glob("*.ko"))])
    log = (built / "build.log").read_text(errors="replace")
    return Driver(driver.modules, first_warning(log) or "")


def _take(path: Path, kernel: Kernel, request: KernelRequest, ctx: Context) -> Module:
    """A .ko of the user's, or a copy with the kernel's release of one that make has left."""
    content = path.read_bytes()
    if not content.startswith(b"\x7fELF"):
        raise SetupError(f"{path} is no kernel module")
    if int.from_bytes(content[_E_MACHINE], "little") != kernel.arch.elf_machine:
        raise SetupError(f"{path} is no module for {kernel.arch}", hint=_CURE)
    if UNNAMED.encode() not in content:
        return read_module(path, kernel.release)
    read_module(path, nameless(kernel.release.encode(), kernel.key).decode())
    with open_builder(request, ctx) as builder:
        if not builder.build_dir.holds(kernel.key, when=path.stat().st_mtime):
            root = builder.build_dir.root
            message = f"{path} was not built since {root} holds {kernel.release}"
            raise SetupError(message, hint=_CURE)

    def copy(entry: Path) -> None:
        copy_named(path, entry, kernel.key)

    key = digest(_LAYOUT, kernel.key, path.name, hashlib.sha256(content).hexdigest())
    return read_module(ctx.cache.get("driver", key, copy) / path.name, kernel.release)


def build_driver(folder: Path, kernel: Kernel, request: KernelRequest, ctx: Context) -> Path:
    """Build the modules of a folder: an entry of the cache with them and build.log."""

    def make(entry: Path, build_dir: BuildDir) -> None:
        with ctx.progress.step(f"{folder.name} for {request}"):
            log = build_dir.fresh_log(f"driver-{kernel.key}")
            bring_to(build_dir, kernel, request, log)
            copy = build_dir.root / "driver"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(
                folder,
                copy,
                ignore=shutil.ignore_patterns(*_LEFT_OUT),
                ignore_dangling_symlinks=True,
            )
            _make_modules(build_dir, copy, f"the driver in {folder}", log)
            modules = sorted(copy.rglob("*.ko"))
            if not modules:
                raise BuildError(f"the driver in {folder} makes no module", logs=(log,))
            for module in modules:
                copy_named(module, entry, kernel.key)
            shutil.copy2(log, entry / "build.log")

    key = digest(_LAYOUT, kernel.key, *_contents(folder))
    with open_builder(request, ctx) as builder:
        return builder.entry("driver", key, make)


def _make_modules(build_dir: BuildDir, copy: Path, what: str, log: Path) -> None:
    """It is the user's own text that does not compile: all errors are shown."""
    try:
        build_dir.make.run(f"M={copy}", "W=1", "modules", what=what, log=log)
    except BuildError as error:
        error.evidence = "\n".join(error_lines(log.read_text(errors="replace"))[:_SHOWN])
        raise


def read_module(path: Path, release: str) -> Module:
    """What a .ko says of itself.

    Raises:
        SetupError: it is no module, too large for the guest, or not for the kernel `release`.
    """
    content = path.read_bytes()
    if len(content) > _MOST:
        raise SetupError(f"{path} is larger than the guest takes", hint="strip --strip-debug")
    said = {key.decode(): value.decode() for key, value in _MODINFO.findall(content)}
    if not {"name", "vermagic"} <= said.keys():
        raise SetupError(f"{path} is no kernel module")
    built_for = said["vermagic"].partition(" ")[0]
    if built_for != release:
        raise SetupError(f"{path} is for {built_for}, the kernel is {release}", hint=_CURE)
    depends = tuple(filter(None, said.get("depends", "").split(",")))
    return Module(path, said["name"], depends, built_for)


def load_order(modules: Sequence[Module]) -> Driver:
    """Each module behind those that it depends on."""
    waiting, ordered = list(modules), list[Module]()
    while waiting:
        names = {module.name for module in waiting}
        ready = [module for module in waiting if not names & set(module.depends)]
        if not ready:
            raise SetupError(f"modules that need each other: {', '.join(sorted(names))}")
        ordered += ready
        waiting = [module for module in waiting if module not in ready]
    return Driver(tuple(ordered))


def _contents(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(fnmatch.fnmatch(part, each) for part in name.parts for each in _LEFT_OUT)
        if path.is_file() and not hidden:
            yield str(name)
            yield hashlib.sha256(path.read_bytes()).hexdigest()
