# SPDX-License-Identifier: GPL-2.0
"""The user's driver: modules that were built for a kernel, and their load order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.build import open_builder
from testbed.kernel.driverbuild import build_driver, build_warning, pass_one_of
from testbed.kernel.driverfiles import MAKEFILES, module_folders
from testbed.kernel.release import UNNAMED, copy_named, nameless
from testbed.kernel.request import Kernel, KernelRequest

_LAYOUT = "2"

# Strings of a module's .modinfo section (scripts/mod/modpost.c).
_MODINFO = re.compile(rb"(?<=\0)(name|depends|vermagic)=([^\0]*)\0")

# The field e_machine of an ELF header (elf(5)), in the byte order of that machine.
_E_MACHINE = slice(18, 20)

_HINT = "pass the folder of its source, which is then built for the kernel under test"

# The agent refuses longer requests (docs/agent.md).
_MOST = (16 << 20) - 4096  # bytes


@dataclass(frozen=True)
class Module:
    """One kernel module, and the facts of its .modinfo section."""

    path: Path
    name: str  # as in /proc/modules
    depends: tuple[str, ...]  # names of other modules
    release: str  # of the kernel that it was built for


@dataclass(frozen=True)
class Driver:
    """The modules of a driver, in load order."""

    modules: tuple[Module, ...]
    warning: str = ""  # the first warning of its build

    @property
    def name(self) -> str:
        """The module that is loaded last, on which no other depends."""
        return self.modules[-1].name

    @property
    def needs(self) -> tuple[str, ...]:
        """The kernel's own modules that must be loaded first."""
        own = {module.name for module in self.modules}
        needed = (name for module in self.modules for name in module.depends)
        return tuple(dict.fromkeys(name for name in needed if name not in own))


def find_driver(path: Path, kernel: Kernel, request: KernelRequest, ctx: Context) -> Driver:
    """Return the driver of `path`: a source folder, or a .ko that was built for the kernel.

    A folder is built for the kernel from a copy, and never written to.

    Raises:
        SetupError: `path` is neither, or the .ko is for another kernel.
        BuildError: the folder does not compile, or builds no module.
    """
    if path.is_file():
        return load_order([_take(path, kernel, request, ctx)])
    if not any((path / name).is_file() for name in MAKEFILES):
        raise SetupError(
            f"{path} is neither a .ko nor a folder with a {' or a '.join(MAKEFILES)}",
            hint=pass_one_of(module_folders(path))
            or "a module's folder has a Kbuild or a Makefile that sets obj-m",
        )
    built = build_driver(path, kernel, request, ctx)
    driver = load_order([read_module(file, kernel.release) for file in sorted(built.glob("*.ko"))])
    return Driver(driver.modules, build_warning(built))


def _take(path: Path, kernel: Kernel, request: KernelRequest, ctx: Context) -> Module:
    """Return the user's .ko.

    If the .ko has the placeholder release of a build directory, return a copy with the kernel's
    release.
    """
    content = path.read_bytes()
    if not content.startswith(b"\x7fELF"):
        raise SetupError(f"{path} is not a kernel module")
    if int.from_bytes(content[_E_MACHINE], "little") != kernel.arch.elf_machine:
        raise SetupError(f"{path} is not a module for {kernel.arch}", hint=_HINT)
    if UNNAMED.encode() not in content:
        return read_module(path, kernel.release)
    read_module(path, nameless(kernel.release.encode(), kernel.key).decode())
    with open_builder(request, ctx) as builder:
        if not builder.build_dir.holds(kernel.key, when=path.stat().st_mtime):
            root = builder.build_dir.root
            message = f"{path} may not be for {kernel.release}: {root} has changed since its build"
            raise SetupError(message, hint=_HINT)

    def copy(entry: Path) -> None:
        copy_named(path, entry, kernel.key)

    key = digest(_LAYOUT, kernel.key, path.name, hashlib.sha256(content).hexdigest())
    return read_module(ctx.cache.get("driver", key, copy) / path.name, kernel.release)


def read_module(path: Path, release: str) -> Module:
    """Read the .modinfo section of a .ko.

    Raises:
        SetupError: it is not a module, too large for the guest, or not for the kernel `release`.
    """
    content = path.read_bytes()
    if len(content) > _MOST:
        raise SetupError(f"{path} is too large for the guest", hint="strip --strip-debug")
    modinfo = {key.decode(): value.decode() for key, value in _MODINFO.findall(content)}
    if not {"name", "vermagic"} <= modinfo.keys():
        raise SetupError(f"{path} is not a kernel module")
    built_for = modinfo["vermagic"].partition(" ")[0]
    if built_for != release:
        raise SetupError(f"{path} is for {built_for}, but the kernel is {release}", hint=_HINT)
    depends = tuple(filter(None, modinfo.get("depends", "").split(",")))
    return Module(path, modinfo["name"], depends, built_for)


def load_order(modules: Sequence[Module]) -> Driver:
    """Order the modules so that each follows its dependencies.

    Raises:
        SetupError: modules depend on each other.
    """
    waiting, ordered = list(modules), list[Module]()
    while waiting:
        names = {module.name for module in waiting}
        ready = [module for module in waiting if not names & set(module.depends)]
        if not ready:
            raise SetupError(f"modules depend on each other: {', '.join(sorted(names))}")
        ordered += ready
        waiting = [module for module in waiting if module not in ready]
    return Driver(tuple(ordered))
