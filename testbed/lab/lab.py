"""The lab of one session: cells made once, and one healthy guest per architecture."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from testbed.cache import Cache
from testbed.deadline import Deadline
from testbed.errors import BootError, InfraError, TestbedError, TreeError
from testbed.kernel.series import Series
from testbed.lab.cell import Cell, prepare
from testbed.lab.guest import Guest, guest_up
from testbed.progress import Progress
from testbed.results.store import new_run_dir
from testbed.settings import Settings

# After as many boots in a row that failed, a kernel is not booted again.
_BOOT_FAILURES = 2


@dataclass
class _Place:
    """What one architecture has: a cell or why there is none, a guest or none yet."""

    cell: Cell | TestbedError | None = None
    guest: Guest | None = None
    guest_stack: ExitStack = field(default_factory=ExitStack)
    boots: int = 0
    failed: TestbedError | None = None  # why the last boot failed
    failures: int = 0  # boots in a row that failed


@dataclass
class Lab:
    """Hands out cells and guests; `close` ends every VM."""

    settings: Settings
    series: Series
    cache: Cache
    progress: Progress
    workplace: str = ""  # as KernelRequest has it
    _places: dict[str, _Place] = field(default_factory=dict)
    retried: list[str] = field(default_factory=list)

    @cached_property
    def run_dir(self) -> Path:
        """The folder of this run, made when it is first needed."""
        return new_run_dir(self.settings.results_dir)

    @property
    def started(self) -> bool:
        """Whether anything was asked of the lab that leaves results."""
        return "run_dir" in self.__dict__

    def cell(self, arch: str) -> Cell:
        """The cell of an architecture, prepared once; a failure is raised again each time."""
        place = self._place(arch)
        if place.cell is None:
            try:
                place.cell = prepare(
                    arch,
                    self.series,
                    self.settings,
                    self.cache,
                    self.progress,
                    workplace=self.workplace,
                )
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

    def guest(self, arch: str) -> Guest:
        """A guest that is healthy: the one that runs, or a fresh one."""
        place = self._place(arch)
        if place.guest is not None and not place.guest.usable:
            self.discard(arch)
        if place.guest is None:
            place.guest = self._boot_guarded(arch, place)
        return place.guest

    def discard(self, arch: str) -> None:
        """End the guest of an architecture; the next one asked for is fresh."""
        place = self._place(arch)
        place.guest = None
        place.guest_stack.close()

    def log_dir(self, arch: str) -> Path:
        """A fresh folder for the logs of one VM."""
        place = self._place(arch)
        place.boots += 1
        path = self.run_dir / f"vm-{arch}-{place.boots}"
        path.mkdir()
        return path

    def close(self) -> None:
        """End every VM."""
        with ExitStack() as stack:
            for arch in self._places:
                stack.callback(self.discard, arch)

    def _boot_guarded(self, arch: str, place: _Place) -> Guest:
        """Boot, unless that has failed too often: each further test would wait in vain."""
        if place.failed is not None and place.failures >= _BOOT_FAILURES:
            raise place.failed.with_traceback(None)
        try:
            guest = self._boot_twice(arch, place)
        except TestbedError as error:
            place.failed, place.failures = error, place.failures + 1
            raise
        place.failures = 0
        return guest

    def _boot_twice(self, arch: str, place: _Place) -> Guest:
        """Boot; what the host broke is tried once more, and both outcomes are kept."""
        try:
            return self._boot(arch, place)
        except InfraError as error:
            self.retried.append(f"{arch}: {error}")
            self.progress.note(f"{arch}: booting again after: {error.message}")
            return self._boot(arch, place)

    def _boot(self, arch: str, place: _Place) -> Guest:
        cell = self.cell(arch)
        with self.progress.step(f"boot {arch} {cell.kernel.release}"):
            deadline = Deadline.after(self.settings.boot_seconds)
            return place.guest_stack.enter_context(guest_up(cell, self.log_dir(arch), deadline))

    def _place(self, arch: str) -> _Place:
        return self._places.setdefault(arch, _Place())
