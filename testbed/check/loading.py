# SPDX-License-Identifier: GPL-2.0
"""The driver in a guest: its modules are loaded, its node appears, and all is removed again."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from testbed.check.checkplan import CheckPlan
from testbed.errors import GuestFileError, SetupError
from testbed.kernel.driver import Driver, Module
from testbed.lab.guest import Guest
from testbed.mmap.script import Script
from testbed.suggest import suggest

# A driver may register its node from a workqueue, after a probe of its hardware.
PATIENCE = 5000  # ms

_MODULES = "/proc/modules"
_DEVICES = "/proc/devices"

# /proc/modules shows this among the users of a module that has no exit function.
_PERMANENT = "[permanent]"

_CHARACTER = re.compile(r"^ *(\d+) (\S+)$", re.MULTILINE)


def chosen_modules(driver: Driver, plan: CheckPlan) -> tuple[Module, ...]:
    """Return the modules that the plan chooses, in its order. The default is all of them.

    Raises:
        SetupError: the plan names a module that the driver lacks, or leaves out one that
            another needs.
    """
    known = {module.name: module for module in driver.modules}
    named = {*plan.modules, *(() if isinstance(plan.parameters, str) else plan.parameters)}
    for name in sorted(named - known.keys()):
        hint = suggest(name, known)
        raise SetupError(f"the plan names the module {name}, which the driver lacks", hint=hint)
    chosen = tuple(known[name] for name in plan.modules) or driver.modules
    for at, module in enumerate(chosen):
        loaded = {each.name for each in chosen[:at]}
        for needed in module.depends:
            if needed in known and needed not in loaded:
                message = f"{module.name} needs {needed}, which the plan does not load before it"
                raise SetupError(message, hint=f"add {needed} to its `modules`")
    return chosen


class Loading(Protocol):
    """How a driver comes into a guest, and leaves it. Loader describes the methods."""

    @property
    def modules(self) -> Sequence[str]:
        """The names of its modules, in load order."""

    @property
    def stays(self) -> str: ...

    @property
    def made(self) -> str: ...

    def copy_modules(self, guest: Guest) -> None: ...

    def load(self, guest: Guest, *, unloads: bool) -> None: ...

    def keeps(self, guest: Guest) -> bool: ...

    def leave(self) -> None: ...


@dataclass
class Loader:
    """Loads a driver into guests. It learns how the node appears, and whether modules stay."""

    driver: Driver
    plan: CheckPlan
    node: str
    chosen: tuple[Module, ...]
    stays: str = ""  # the module that cannot be unloaded, because it pins itself
    made: str = ""  # the entry of /proc/devices for which the node is made
    _holds: Guest | None = None  # the guest in which modules have stayed
    _kept: set[str] = field(default_factory=set)  # the modules that have stayed there
    _copied_to: Guest | None = None  # the last guest that got the modules
    _devices: Mapping[str, int] = field(default_factory=dict)  # before the driver was loaded

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the driver's modules, in load order."""
        return tuple(module.name for module in self.chosen)

    def copy_modules(self, guest: Guest) -> None:
        """Copy the modules into a guest, once: a replaced file is freed later."""
        if guest is self._copied_to:
            return
        for module in self.chosen:
            guest.session.put(module.path.read_bytes(), f"/{module.path.name}")
            guest.binaries[module.name] = module.path
        # The files use memory, so the ledger starts after them.
        guest.ledger, self._copied_to = None, guest

    def load(self, guest: Guest, *, unloads: bool) -> None:
        """Load the modules until the end of the trial, and wait for the node.

        Args:
            unloads: the trial itself may unload the last module.

        Raises:
            GuestFileError, GuestCommandError: a module does not load, or the node does not appear.
        """
        self._load_modules(guest, unloads=unloads)
        if self.plan.write:
            texts = [(path, text.encode()) for path, text in self.plan.write.items()]
            guest.session.write(*texts)
        self._find_node(guest)

    def keeps(self, guest: Guest) -> bool:
        """Whether an earlier trial's modules have stayed in the guest."""
        return guest is self._holds

    def leave(self) -> None:
        """Let no other check use the guest in which modules have stayed."""
        if self._holds is not None:
            self._holds.broken = self._holds.broken or f"{self.stays}.ko stays loaded"

    def _load_modules(self, guest: Guest, *, unloads: bool) -> None:
        if not self.stays:
            self._devices = _character_devices(guest)
        kept = self._kept if self.keeps(guest) else set()
        for name in self._needs():
            guest.session.check(["modprobe", name])
            guest.at_end(partial(self._remove_needed, guest, name))
        for module in self.chosen:
            if module.name in kept:
                continue
            parameters = self.plan.parameters_of(module.name, last=module is self.chosen[-1])
            try:
                guest.session.load_module(f"/{module.path.name}", parameters)
            except GuestFileError as error:
                raise self._refused(module, error) from error
            pins = references(guest.session.get(_MODULES).decode()).get(module.name, 0)
            guest.at_end(partial(self._unload, guest, module.name, pins, unloads=unloads))

    def _needs(self) -> tuple[str, ...]:
        """Return the kernel's own modules that must be loaded first."""
        own = {module.name for module in self.driver.modules}
        needed = (name for module in self.chosen for name in module.depends)
        return tuple(dict.fromkeys(name for name in needed if name not in own))

    def _refused(self, module: Module, error: GuestFileError) -> GuestFileError:
        message = f"{module.name}.ko does not load: {_name(error.errno)}"
        if len(self.chosen) > 1:
            others = ", ".join(f'"{each.name}"' for each in self.chosen if each is not module)
            message += f"; a plan can choose modules and their order: modules = [{others}]"
        return GuestFileError(message, errno=error.errno, evidence=error.message)

    def _remove_needed(self, guest: Guest, name: str) -> None:
        if not self.keeps(guest):
            guest.session.check(["modprobe", "-r", name])

    def _unload(self, guest: Guest, name: str, pins: int, *, unloads: bool) -> None:
        """Unload a module of the driver.

        A module that already had its references when it was loaded pins itself, and stays.

        Raises:
            GuestFileError: it cannot be unloaded. If it is in use, the message counts its
                references.
        """
        try:
            guest.session.unload_module(name)
        except GuestFileError as error:
            if error.errno == errno.ENOENT and unloads:
                return
            if error.errno not in (errno.EAGAIN, errno.EBUSY):
                raise
            modules = guest.session.get(_MODULES).decode()
            count = references(modules).get(name, 0)
            if (pins or is_permanent(modules, name)) and count <= pins:
                self._stay(guest, name)
                return
            raise in_use(name, count - pins) from error

    def _stay(self, guest: Guest, name: str) -> None:
        if not self.keeps(guest):
            self._holds, self._kept = guest, set()
        self._kept.add(name)
        self.stays = name
        guest.ledger = None  # it has the references of the module

    def _find_node(self, guest: Guest) -> None:
        """Wait for the node, or make it for the driver's entry of /proc/devices."""
        made = self.made or self.plan.mknod
        if not made:
            script = Script()
            step = script.step("await", self.node, str(PATIENCE))
            if not guest.prober.run(script)[step].errno:
                return
            made = self._own_entry(guest)
        name, _, minor = made.partition(":")
        number = _character_devices(guest).get(name)
        if number is None:
            raise GuestFileError(f"/proc/devices has no {name}, for which the plan makes the node")
        guest.session.check(["mkdir", "-p", self.node.rpartition("/")[0] or "/"])
        guest.session.check(["mknod", self.node, "c", str(number), minor or "0"])
        guest.at_end(partial(guest.session.check, ["rm", "-f", self.node]))
        self.made = made

    def _own_entry(self, guest: Guest) -> str:
        """Return the entry of /proc/devices that the driver has added.

        Raises:
            GuestFileError: it has added none, or several of which none has the node's name.
        """
        after = _character_devices(guest)
        added = [name for name in after if name not in self._devices]
        wanted = self.node.rpartition("/")[2]
        if wanted in added or len(added) == 1:
            return wanted if wanted in added else added[0]
        message = f"{self.node} does not appear within {PATIENCE // 1000} s"
        if added:
            message += f'; name its entry of /proc/devices in a plan: mknod = "{added[0]}"'
        raise GuestFileError(message, path=self.node, errno=errno.ENOENT)


def in_use(name: str, count: int) -> GuestFileError:
    """Return the error of a module that cannot be unloaded, with its references."""
    are = "reference stays" if count == 1 else "references stay"
    message = f"{name}.ko cannot be unloaded: {count} {are} behind"
    return GuestFileError(message, errno=errno.EAGAIN)


def references(modules: str) -> dict[str, int]:
    """Return the references of each module in /proc/modules, less those by other modules."""
    return dict(_references(line) for line in modules.splitlines())


def _references(line: str) -> tuple[str, int]:
    name, _, count, users = line.split()[:4]
    return name, int(count) - len(re.findall(r"\w+(?=,)", users.replace(_PERMANENT, "")))


def is_permanent(modules: str, name: str) -> bool:
    """Whether a module in /proc/modules lacks an exit function, so that it stays."""
    return any(line.split()[0] == name and _PERMANENT in line for line in modules.splitlines())


def _character_devices(guest: Guest) -> dict[str, int]:
    text = guest.session.get(_DEVICES).decode().partition("Block devices:")[0]
    return {name: int(number) for number, name in _CHARACTER.findall(text)}


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))
