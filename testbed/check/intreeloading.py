# SPDX-License-Identifier: GPL-2.0
"""One of the kernel's own drivers in a guest: its modules and its set-up, and their end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path, PurePosixPath

from testbed.check.indisk import attach
from testbed.check.loading import PATIENCE, in_use, is_permanent, references
from testbed.errors import GuestFileError, SetupError, TestbedError
from testbed.flavour import DRIVERS
from testbed.guest.session import unload_call
from testbed.intree.recipe import Recipe
from testbed.kernel.depends import explain, read_definitions
from testbed.kernel.kconfig import lost, parse_config
from testbed.kernel.request import Kernel
from testbed.lab.guest import MODULE_DIR, Guest
from testbed.mmap.script import Script
from testbed.suggest import nearest

_MODULES = "/proc/modules"

# A source does not change while drivers are looked at, and reading it takes seconds.
_definitions = cache(read_definitions)

# The testbed's own modules that a recipe can name: they give memory to hooks of the kernel.
OWN_MODULES = ("mmap_relay", "mmap_stm")


@dataclass
class InTreeLoader:
    """Loads the driver of a recipe into guests."""

    recipe: Recipe
    kernel: Kernel
    disk: Path | None = None  # the image that the recipe asks for
    stays: str = ""  # what a user's own module may do
    made: str = ""  # a recipe makes its node itself

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The names of the recipe's modules. Those that are built in have none."""
        names = (_name(module) for module in self.recipe.modules)
        return tuple(name for name in names if name in self._files)

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """The files that each module needs, itself last."""
        top = f"/lib/modules/{self.kernel.release}"
        files = {
            name: [f"{top}/{file}" for file in needed]
            for name, needed in _needs(self.kernel).items()
        }
        return files | {name: [f"{MODULE_DIR}/{name}.ko"] for name in OWN_MODULES}

    def copy_modules(self, guest: Guest) -> None:
        """The image has them."""

    def keeps(self, guest: Guest) -> bool:
        """Whether what an earlier trial wrote has stayed in the guest. Modules never do."""
        return self.recipe.lasting

    def leave(self) -> None:
        """Nothing stays."""

    def load(self, guest: Guest, *, unloads: bool) -> None:
        """Load the modules until the end of the trial, run the set-up, and wait for the file.

        Args:
            unloads: the trial itself may unload a module.

        Raises:
            GuestFileError, GuestCommandError: a module does not load, a line of the set-up
                fails, or the file does not appear.
        """
        before = references(guest.session.get(_MODULES).decode())
        guest.at_end(partial(self._unload, guest, before))
        for path, parameters in self._to_load():
            if _name(PurePosixPath(path).stem) not in before:
                guest.session.load_module(path, parameters)
        self._set_up(guest)
        self._await(guest)

    def _to_load(self) -> list[tuple[str, str]]:
        """Return the files to load in order, each with its parameters."""
        given = {_name(module): text for module, text in self.recipe.modules.items()}
        files = dict.fromkeys(file for name in self.modules for file in self._files[name])
        return [(file, given.get(_name(PurePosixPath(file).stem), "")) for file in files]

    def _set_up(self, guest: Guest) -> None:
        if self.disk is not None:
            attach(guest, self.disk)
        if self.recipe.teardown:
            guest.at_end(partial(_shell, guest, self.recipe.teardown))
        # A fault on a neighbour does not map a page that is locked because it is being written
        # (mm/filemap.c, next_uptodate_folio()).
        written = ("sync",) if self.disk is not None else ()
        if self.recipe.setup:
            _shell(guest, (*self.recipe.setup, *written))

    def _await(self, guest: Guest) -> None:
        path = self.recipe.awaited
        if not path:
            return
        script = Script()
        step = script.step("await", path, str(PATIENCE))
        if guest.prober.run(script)[step].errno:
            message = f"{path} does not appear within {PATIENCE // 1000} s"
            raise GuestFileError(message, path=path, errno=errno.ENOENT)

    def _unload(self, guest: Guest, before: dict[str, int]) -> None:
        """Unload every module that was loaded since, the newest first.

        One without an exit function stays, as binder_linux does, and so do those that the recipe
        names.

        Raises:
            GuestFileError: one is still in use. The message counts its references.
        """
        text = guest.session.get(_MODULES).decode()
        loaded = [name for name in references(text) if name not in before]
        stays = {_name(module) for module in self.recipe.stays}
        names = [name for name in loaded if name not in stays and not is_permanent(text, name)]
        answers = guest.session.exchange([unload_call(name) for name in names])
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, GuestFileError) and answer.errno == errno.EAGAIN:
                count = references(guest.session.get(_MODULES).decode()).get(name, 0)
                raise in_use(name, count) from answer
            if isinstance(answer, TestbedError):
                raise answer


def require_symbols(recipe: Recipe, kernel: Kernel, tree: Callable[[], Path]) -> None:
    """Check that the kernel has what a recipe asks of its configuration.

    Args:
        tree: returns the kernel's source, which says why a symbol is missing.

    Raises:
        SetupError: it lacks a symbol. It names the symbol, its line and the reason.
    """
    final = parse_config(kernel.config.read_text())
    for asked in lost(recipe.symbols, final):
        definitions = _definitions(tree(), kernel.arch.srcarch)
        raise SetupError(
            f"{recipe}: {asked} is {final.get(asked.name, 'n')} in {kernel.release}: "
            f"{explain(asked, final, definitions)}",
            hint=f"the flavour {DRIVERS} has what recipes ask for, unless a kernel lacks it: give "
            "another --kernel, or correct the recipe",
        )


def require_modules(recipe: Recipe, kernel: Kernel) -> None:
    """Check that the kernel has a recipe's modules, or is built with their code inside.

    Raises:
        SetupError: it has no such module. It names the module and the nearest one.
    """
    known = {*_needs(kernel), *_built_in(kernel), *OWN_MODULES}
    for module in recipe.modules:
        if _name(module) not in known:
            message = f"{recipe}: {kernel.release} has no module {module!r}"
            near = nearest(_name(module), known)
            hint = f"did you mean {near}?" if near else "correct the recipe's modules or kconfig"
            raise SetupError(message, hint=hint)


def _needs(kernel: Kernel) -> dict[str, list[str]]:
    """Return the files below /lib/modules/RELEASE that each module needs, itself last."""
    needs: dict[str, list[str]] = {}
    for line in (_folder(kernel) / "modules.dep").read_text().splitlines():
        own, _, others = line.partition(":")
        needs[_name(PurePosixPath(own).stem)] = [*reversed(others.split()), own]
    return needs


def _built_in(kernel: Kernel) -> set[str]:
    lines = (_folder(kernel) / "modules.builtin").read_text().splitlines()
    return {_name(PurePosixPath(line).stem) for line in lines}


def _folder(kernel: Kernel) -> Path:
    return kernel.modules / "lib/modules" / kernel.release


def _name(module: str) -> str:
    """Return a module's name as /proc/modules shows it."""
    return module.replace("-", "_")


def _shell(guest: Guest, lines: tuple[str, ...]) -> None:
    guest.session.check(["sh", "-ec", "\n".join(lines)])
