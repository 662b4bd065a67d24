# SPDX-License-Identifier: GPL-2.0
"""The lab of one session: kernels, prepared once, and guests for the tests."""

from __future__ import annotations

import dataclasses
import shlex
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from testbed.cache import Cache
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import BootError, InfraError, QmpError, TestbedError, TreeError
from testbed.kernel.build import open_builder
from testbed.kernel.series import Series
from testbed.lab.background import built_in_background
from testbed.lab.guest import Guest, clone_up, guest_up
from testbed.lab.guests import Batched, Fresh, Guests, Shared
from testbed.lab.prepared import PreparedKernel, prepare_kernel, request_kernel
from testbed.lab.template import (
    Booting,
    drop_template,
    find_template,
    make_template,
    open_store,
    room_for,
)
from testbed.results.store import new_run_dir
from testbed.settings import Isolation, available_mib
from testbed.vm.qemu import Template

T = TypeVar("T")

# The isolation of tests, and whether the guest has disks. A guest that boots always has them.
Kind = tuple[Isolation, bool]

# With these a guest is a clone of a template.
_CLONED = (Isolation.BATCH, Isolation.CLONE)

# A kernel is not booted again after this many failed boots in a row.
_BOOT_FAILURES = 2


# What is done around each use of a guest by a named user.
Watch = Callable[[Guest, str], AbstractContextManager[None]]


def _unwatched(_: Guest, _user: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass
class _Place:
    """The kernel of one architecture, or the error that prevents it, and its supplies of guests."""

    prepared: PreparedKernel | TestbedError | None = None
    guests: dict[Kind, Guests] = field(default_factory=dict)
    boots: int = 0
    failed: TestbedError | None = None  # why the last boot failed
    failures: int = 0  # boots in a row that failed
    saves: bool = True  # whether QEMU can save a VM, as far as is known
    numbering: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Handover:
    """What one process passes on of an architecture: see the fields of `_Place`."""

    prepared: PreparedKernel | TestbedError | None
    failed: TestbedError | None
    failures: int
    saves: bool = True


@dataclass
class Lab:
    """Hands out prepared kernels and guests; `close` ends every VM."""

    ctx: Context
    series: Series
    build_dir_name: str = ""  # as in KernelRequest
    workers: int = 1  # labs that share the host's processors
    watch: Watch = _unwatched
    _places: dict[str, _Place] = field(default_factory=dict)
    retried: list[str] = field(default_factory=list)
    fault_elsewhere: bool = False  # a worker process found its kernel at fault
    _run_dir: Path | None = None
    _closed: bool = False
    _templates: Cache | None = None
    _late: tuple[str, ...] = ()  # architectures whose kernels are built in the background
    _building: frozenset[str] = frozenset()  # those of them whose build has begun
    _builds: ExitStack = field(default_factory=ExitStack)  # ends the builds

    @classmethod
    def for_kernel(
        cls,
        ctx: Context,
        series: Series,
        arch: str,
        results_dir: Path,
        *,
        isolation: Isolation | None = None,
        build_dir_name: str = "",
    ) -> Lab:
        """Make a lab for one of many kernels: one architecture, and a results folder of its own."""
        settings = dataclasses.replace(
            ctx.settings,
            arch=(arch,),
            series=" ".join(patch.origin for patch in series.patches),
            results_dir=results_dir,
            isolation=isolation or ctx.settings.isolation,
        )
        own = dataclasses.replace(ctx, settings=settings)
        return cls(own, series, build_dir_name=build_dir_name)

    def narrowed(self, recipes: tuple[str, ...]) -> Lab:
        """Return a lab whose flavour `drivers` has only the drivers of these recipes."""
        settings = dataclasses.replace(self.ctx.settings, recipes=recipes)
        own = dataclasses.replace(self.ctx, settings=settings)
        return Lab(own, self.series, build_dir_name=self.build_dir_name, watch=self.watch)

    @property
    def run_dir(self) -> Path:
        """The folder of this run, created on first use."""
        if self._run_dir is None:
            self._run_dir = new_run_dir(self.ctx.settings.results_dir)
        return self._run_dir

    @run_dir.setter
    def run_dir(self, folder: Path) -> None:
        self._run_dir = folder

    @property
    def started(self) -> bool:
        """Whether the folder of this run exists."""
        return self._run_dir is not None

    @property
    def ended(self) -> bool:
        """Whether no guest can be had any more."""
        return self._closed

    def sibling(self) -> Lab:
        """Return a lab with the same kernels, prepared by now, and guests of its own."""
        lab = dataclasses.replace(self, _places={}, _builds=ExitStack(), _templates=None)
        lab.adopt(self.handover())
        return lab

    @property
    def templates(self) -> Cache:
        """The cache of templates, opened on first use."""
        if self._templates is None:
            self._templates = open_store(self.ctx)
        return self._templates

    def prepared(self, arch: str) -> PreparedKernel:
        """Return the kernel of an architecture, prepared once. A failure is raised on each call."""
        place = self._place(arch)
        if place.prepared is None:
            try:
                place.prepared = prepare_kernel(
                    arch,
                    self.series,
                    self.ctx,
                    build_dir_name=self.build_dir_name,
                    when_compiled=self._build_late,
                )
            except TestbedError as error:
                place.prepared = error
        if isinstance(place.prepared, TestbedError):
            # Each time an exception is raised again, its traceback grows.
            raise place.prepared.with_traceback(None)
        return place.prepared

    def prepare_ready(self, needed: Collection[str] = ()) -> tuple[str, ...]:
        """Prepare the first kernel, those that are built, and those of `needed`.

        Return the other architectures. From now on until `close`, they are built in the background.
        A tree that does not build is a finding: the test of the build raises it again.

        Raises:
            SetupError, InfraError: the host lacks something, or failed.
        """
        first, *others = self.ctx.settings.arch
        ready = [first, *(arch for arch in others if arch in needed or self.is_built(arch))]
        self._late = tuple(arch for arch in others if arch not in ready)
        for arch in ready:
            with suppress(TreeError):
                self.prepared(arch)
        self._build_late()
        return self._late

    def is_built(self, arch: str) -> bool:
        """Whether the kernel of an architecture is prepared, or in the cache."""
        if self._place(arch).prepared is not None:
            return True
        request = request_kernel(arch, self.series, self.ctx, build_dir_name=self.build_dir_name)
        with open_builder(request, self.ctx) as builder:
            return builder.is_built

    @property
    def kernel_at_fault(self) -> bool:
        """Whether a kernel failed to build or to boot: a finding, whatever the tests show."""
        return self.fault_elsewhere or any(
            isinstance(place.prepared, TreeError)
            or (isinstance(place.failed, BootError) and place.failures > 0)
            for place in self._places.values()
        )

    def all_prepared(self) -> list[PreparedKernel]:
        """Return the kernels that are ready."""
        return [
            place.prepared
            for place in self._places.values()
            if isinstance(place.prepared, PreparedKernel)
        ]

    @contextmanager
    def guest(
        self,
        arch: str,
        isolation: Isolation | None = None,
        *,
        disks: bool = True,
        later: int | None = None,
        user: str = "",
    ) -> Iterator[Guest]:
        """Provide a healthy guest for one test.

        Args:
            isolation: who shares the guest's kernel; by default as in the settings.
            disks: whether the test needs disks. A clone starts sooner without them.
            later: the number of tests that will still need such a guest, if known.
            user: the name of the test, for `users`.
        """
        if self._closed:
            raise InfraError("the VMs of this run are ended")
        chosen = isolation or self.ctx.settings.isolation
        kind = (chosen, disks or chosen not in _CLONED)
        guest = self._take_guarded(arch, kind, later)
        if isinstance(batched := self._guests(arch, kind), Batched):
            batched.note_user(user)
        try:
            with self.watch(guest, user):
                yield guest
        finally:
            # `guest.test` is still set if the test never ran, or did not end cleanly.
            self._guests(arch, kind).give_back(guest, clean=not guest.test)

    def make_templates(self) -> None:
        """Make what clones of the prepared kernels need, side by side. Tests report what fails.

        The workers of a run would otherwise wait for the first of them.
        """
        if self.ctx.settings.isolation not in _CLONED:
            return
        ready = (each.without_disks() for each in self.all_prepared())
        kernels = [each for each in ready if find_template(each, self.templates) is None]
        if not kernels:
            return
        _ = self.run_dir  # threads would make several
        room = room_for(kernels[0], self.templates)
        workers = max(1, min(self.ctx.settings.worker_count(available_mib()), room))
        booting, pool = Booting(), ThreadPoolExecutor(workers, thread_name_prefix="template")
        try:
            for made in [pool.submit(self._try_template, each, booting) for each in kernels]:
                made.result()
        except BaseException:
            booting.end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _try_template(self, prepared: PreparedKernel, booting: Booting) -> None:
        place = self._place(prepared.arch.name)
        while place.failures < _BOOT_FAILURES:
            try:
                self._template(prepared, booting)
                return
            except TestbedError as error:
                place.failed, place.failures = error, place.failures + 1

    def handover(self) -> dict[str, Handover]:
        """Return all that is known of the kernels, for another process."""
        return {
            arch: Handover(place.prepared, place.failed, place.failures, place.saves)
            for arch, place in self._places.items()
        }

    def adopt(self, kernels: Mapping[str, Handover]) -> None:
        """Use kernels that another process has prepared, and keeps."""
        for arch, known in kernels.items():
            place = self._place(arch)
            place.prepared, place.failed = known.prepared, known.failed
            place.failures = known.failures
            place.saves = known.saves

    def note_retry(self, what: str) -> None:
        """Record an error of the host that did not recur, and show it."""
        self.retried.append(what)
        self.ctx.progress.note(what)

    def users(self, arch: str, *, disks: bool) -> tuple[str, ...]:
        """Return the tests that have used the guest that the next test of a batch gets."""
        guests = self._place(arch).guests.get((Isolation.BATCH, disks))
        return guests.users if isinstance(guests, Batched) else ()

    def end_batches(self, arch: str = "") -> None:
        """End the guests of batches: the next test gets a guest that no test has used.

        Without `arch`, those of all architectures.
        """
        for place in [self._place(arch)] if arch else self._places.values():
            for guests in place.guests.values():
                if isinstance(guests, Batched):
                    guests.end()

    def log_dir(self, arch: str) -> Path:
        """Create a folder for the logs of one VM."""
        place = self._place(arch)
        with place.numbering:
            while True:
                place.boots += 1
                path = self.run_dir / f"vm-{arch}-{place.boots}"
                with suppress(FileExistsError):  # another worker process has made it
                    path.mkdir()
                    return path

    def for_each_arch(self, work: Callable[[str], T]) -> list[T]:
        """Do the same work on each architecture of the settings, on all of them side by side.

        The kernels must be prepared. The first error, or an interrupt, ends every VM.
        """
        arches, _ = self.ctx.settings.arch, self.run_dir  # two threads would make two folders
        self.make_templates()
        workers = min(len(arches), self.ctx.settings.worker_count(available_mib()))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="architecture")
        try:
            futures = [pool.submit(work, arch) for arch in arches]
            return [future.result() for future in futures]
        except BaseException:
            self.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """End every VM. No guest can be had afterwards."""
        self._closed = True
        with ExitStack() as stack:
            stack.callback(self._builds.close)
            if self._templates is not None:
                stack.callback(self._templates.close)
            for place in self._places.values():
                for guests in place.guests.values():
                    stack.callback(guests.close)
                place.guests = {}

    def _build_late(self) -> None:
        """Build the late kernels in the background, each once."""
        if new := [arch for arch in self._late if arch not in self._building]:
            self._building |= set(new)
            self._builds.enter_context(built_in_background(self.ctx, self.run_dir, new))

    def _guests(self, arch: str, kind: Kind) -> Guests:
        """Return the supply of one kind of guests."""
        supplies = self._place(arch).guests
        if kind not in supplies:
            supplies[kind] = self._supply(arch, kind)
        return supplies[kind]

    def _supply(self, arch: str, kind: Kind) -> Guests:
        isolation, disks = kind
        prepared = self._prepared_for(arch, kind)
        if isolation is Isolation.SHARED:
            return Shared(partial(self._boot, prepared))
        fresh = self._fresh(prepared, isolation, disks=disks)
        return Batched(fresh) if isolation is Isolation.BATCH else fresh

    def _fresh(self, prepared: PreparedKernel, isolation: Isolation, *, disks: bool) -> Fresh:
        if isolation is Isolation.BOOT or (template := self._template(prepared)) is None:
            return Fresh(partial(self._boot, prepared))
        # Few tests need disks, and they do not follow one another. A batch lasts for long enough.
        ahead = max(1, self.ctx.settings.jobs // self.workers)
        ahead = 0 if disks else 1 if isolation is Isolation.BATCH else ahead
        return Fresh(partial(self._clone, prepared, template), ahead)

    def _template(
        self, prepared: PreparedKernel, booting: Booting | None = None
    ) -> Template | None:
        """Return the template of a prepared kernel.

        If it has no room, or the user's devices cannot be saved, note this, and return None.
        """
        place = self._place(prepared.arch.name)
        if not place.saves:
            return None
        found = find_template(prepared, self.templates)
        if found is not None:
            return found
        if not room_for(prepared, self.templates):
            root = self.templates.root
            self.ctx.progress.note(
                f"no room for a template in {root}, so every test boots; set template_dir to "
                "another folder on tmpfs, or use the faster --isolation shared"
            )
            return None
        with self.ctx.progress.step(f"template of {prepared.arch} {prepared.kernel.release}"):
            logs = self.log_dir(prepared.arch.name)
            try:
                seconds = self.ctx.settings.boot_seconds
                return make_template(prepared, self.templates, logs, seconds, booting)
            except QmpError as error:
                if not prepared.user_argv:
                    raise
                # QEMU cannot save every device, a PCI card of the host for example.
                words = shlex.join(prepared.user_argv)
                reason = f"QEMU cannot save a VM with {words}: {error.message}"
                self.ctx.progress.note(f"every test boots, because {reason}")
                place.saves = False
                return None

    def _prepared_for(self, arch: str, kind: Kind) -> PreparedKernel:
        prepared = self.prepared(arch)
        return prepared if kind[1] else prepared.without_disks()

    def _take_guarded(self, arch: str, kind: Kind, later: int | None) -> Guest:
        """Take a guest, unless too many boots failed: each further test would wait in vain."""
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
        """Take a guest. After an error of the host try once more, and record that error."""
        try:
            return self._guests(arch, kind).take(later)
        except InfraError as error:
            self.retried.append(f"{arch}: {error}")
            self.ctx.progress.note(f"{arch}: trying once more after: {error.message}")
            self._renew(arch, kind)
            return self._guests(arch, kind).take(later)

    def _renew(self, arch: str, kind: Kind) -> None:
        """Drop a supply of guests, and the template that it may have used."""
        if (guests := self._place(arch).guests.pop(kind, None)) is not None:
            guests.close()
            if kind[0] in _CLONED:
                drop_template(self._prepared_for(arch, kind), self.templates)

    def _boot(self, prepared: PreparedKernel) -> AbstractContextManager[Guest]:
        return guest_up(prepared, self.log_dir(prepared.arch.name), self._soon())

    def _clone(self, prepared: PreparedKernel, template: Template) -> AbstractContextManager[Guest]:
        return clone_up(prepared, template, self.log_dir(prepared.arch.name), self._soon())

    def _soon(self) -> Deadline:
        return Deadline.after(self.ctx.settings.boot_seconds)

    def _place(self, arch: str) -> _Place:
        return self._places.setdefault(arch, _Place())
