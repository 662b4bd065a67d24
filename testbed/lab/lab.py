"""The lab of one session: cells made once, and guests for the tests of each architecture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from testbed.cache import Cache
from testbed.deadline import Deadline
from testbed.errors import BootError, InfraError, TestbedError, TreeError
from testbed.kernel.series import Series
from testbed.lab.cell import Cell, prepare
from testbed.lab.guest import Guest, clone_up, guest_up
from testbed.lab.guests import Fresh, Guests, Shared
from testbed.lab.template import drop_template, find_template, has_room, make_template, open_store
from testbed.results.store import new_run_dir
from testbed.settings import Isolation
from testbed.vm.qemu import Template
from testbed.workshop import Workshop

# How tests are isolated, and whether the guest has disks: one that boots always has.
Kind = tuple[Isolation, bool]

# After as many boots in a row that failed, a kernel is not booted again.
_BOOT_FAILURES = 2


@dataclass
class _Place:
    """What one architecture has: a cell or why there is none, and its supplies of guests."""

    cell: Cell | TestbedError | None = None
    guests: dict[Kind, Guests] = field(default_factory=dict)
    boots: int = 0
    failed: TestbedError | None = None  # why the last boot failed
    failures: int = 0  # boots in a row that failed
    numbering: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Lab:
    """Hands out cells and guests; `close` ends every VM."""

    shop: Workshop
    series: Series
    workplace: str = ""  # as KernelRequest has it
    workers: int = 1  # labs that share the host's processors
    _places: dict[str, _Place] = field(default_factory=dict)
    retried: list[str] = field(default_factory=list)

    @cached_property
    def run_dir(self) -> Path:
        """The folder of this run, made when it is first needed."""
        return new_run_dir(self.shop.settings.results_dir)

    @property
    def started(self) -> bool:
        """Whether anything was asked of the lab that leaves results."""
        return "run_dir" in self.__dict__

    @cached_property
    def templates(self) -> Cache:
        """Where templates are kept."""
        return open_store(self.shop)

    def cell(self, arch: str) -> Cell:
        """The cell of an architecture, prepared once; a failure is raised again each time."""
        place = self._place(arch)
        if place.cell is None:
            try:
                place.cell = prepare(arch, self.series, self.shop, workplace=self.workplace)
            except TestbedError as error:
                place.cell = error
        if isinstance(place.cell, TestbedError):
            # An exception that is raised again would drag along every place it was raised at.
            raise place.cell.with_traceback(None)
        return place.cell

    @property
    def kernel_at_fault(self) -> bool:
        """Whether a kernel did not build, or not boot: a finding, whatever the tests were."""
        return any(
            isinstance(place.cell, TreeError)
            or (isinstance(place.failed, BootError) and place.failures > 0)
            for place in self._places.values()
        )

    def prepared(self) -> list[Cell]:
        """The cells that are ready."""
        return [place.cell for place in self._places.values() if isinstance(place.cell, Cell)]

    @contextmanager
    def guest(
        self,
        arch: str,
        isolation: Isolation | None = None,
        *,
        disks: bool = True,
        later: int | None = None,
    ) -> Iterator[Guest]:
        """A healthy guest, for one test.

        Args:
            isolation: whose kernel it is; that of the settings when not given.
            disks: whether it needs disks. A clone starts sooner without them.
            later: how many tests will still want such a guest, if that is known.
        """
        chosen = isolation or self.shop.settings.isolation
        kind = (chosen, disks or chosen is not Isolation.CLONE)
        guest = self._take_guarded(arch, kind, later)
        try:
            yield guest
        finally:
            # A test that never ran, or whose end was not clean, has it still.
            self._guests(arch, kind).give_back(guest, clean=not guest.test)

    def log_dir(self, arch: str) -> Path:
        """A fresh folder for the logs of one VM."""
        place = self._place(arch)
        with place.numbering:
            while True:
                place.boots += 1
                path = self.run_dir / f"vm-{arch}-{place.boots}"
                with suppress(FileExistsError):  # another worker process has made it
                    path.mkdir()
                    return path

    def close(self) -> None:
        """End every VM."""
        with ExitStack() as stack:
            if "templates" in self.__dict__:
                stack.callback(self.templates.close)
            for place in self._places.values():
                for guests in place.guests.values():
                    stack.callback(guests.close)
                place.guests = {}

    def _guests(self, arch: str, kind: Kind) -> Guests:
        """The supply of one kind of guests."""
        supplies = self._place(arch).guests
        if kind not in supplies:
            supplies[kind] = self._supply(arch, kind)
        return supplies[kind]

    def _supply(self, arch: str, kind: Kind) -> Guests:
        isolation, disks = kind
        cell = self._cell_of(arch, kind)
        if isolation is Isolation.SHARED:
            return Shared(partial(self._boot, cell))
        if isolation is Isolation.CLONE and (template := self._template(cell)) is not None:
            # Guests with disks are for few tests, and not for one after the other.
            ahead = 0 if disks else max(1, self.shop.settings.jobs // self.workers)
            return Fresh(partial(self._clone, cell, template), ahead)
        return Fresh(partial(self._boot, cell))

    def _template(self, cell: Cell) -> Template | None:
        """The template of a cell; None, with a note, where there is no room for one."""
        found = find_template(cell, self.templates)
        if found is not None:
            return found
        if not has_room(cell, self.templates):
            root = self.templates.root
            self.shop.progress.note(
                f"no room for a template in {root}: every test boots; template_dir may be "
                "another folder on tmpfs, and --isolation shared is quicker"
            )
            return None
        with self.shop.progress.step(f"template of {cell.arch} {cell.kernel.release}"):
            logs = self.log_dir(cell.arch.name)
            return make_template(cell, self.templates, logs, self.shop.settings.boot_seconds)

    def _cell_of(self, arch: str, kind: Kind) -> Cell:
        cell = self.cell(arch)
        return cell if kind[1] else cell.without_disks()

    def _take_guarded(self, arch: str, kind: Kind, later: int | None) -> Guest:
        """Take a guest, unless that has failed too often: each further test would wait in vain."""
        place = self._place(arch)
        if place.failed is not None and place.failures >= _BOOT_FAILURES:
            raise place.failed.with_traceback(None)
        try:
            guest = self._take_twice(arch, kind, later)
        except TestbedError as error:
            place.failed, place.failures = error, place.failures + 1
            raise
        place.failures = 0
        return guest

    def _take_twice(self, arch: str, kind: Kind, later: int | None) -> Guest:
        """Take a guest; what the host broke is tried once more, and both outcomes are kept."""
        try:
            return self._guests(arch, kind).take(later)
        except InfraError as error:
            self.retried.append(f"{arch}: {error}")
            self.shop.progress.note(f"{arch}: once more after: {error.message}")
            self._renew(arch, kind)
            return self._guests(arch, kind).take(later)

    def _renew(self, arch: str, kind: Kind) -> None:
        """Forget a supply, and the template that it may have stood on."""
        if (guests := self._place(arch).guests.pop(kind, None)) is not None:
            guests.close()
            if kind[0] is Isolation.CLONE:
                drop_template(self._cell_of(arch, kind), self.templates)

    def _boot(self, cell: Cell) -> AbstractContextManager[Guest]:
        return guest_up(cell, self.log_dir(cell.arch.name), self._soon())

    def _clone(self, cell: Cell, template: Template) -> AbstractContextManager[Guest]:
        return clone_up(cell, template, self.log_dir(cell.arch.name), self._soon())

    def _soon(self) -> Deadline:
        return Deadline.after(self.shop.settings.boot_seconds)

    def _place(self, arch: str) -> _Place:
        return self._places.setdefault(arch, _Place())
