# SPDX-License-Identifier: GPL-2.0
"""Boots, clones and sessions of one prepared kernel, each measured from its start."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.figures import Samples
from benchmark.quantities import (
    BOOT,
    BOOT_DISKS,
    CLONE_LOAD,
    CLONE_PROBE,
    CLONE_QEMU,
    CLONE_RESEED,
    CLONE_RUNS,
    EMPTY,
    POOL_PROBE,
    PROBE,
    PROBES,
    PSS,
    ROUND_TRIP,
    Quantity,
)
from testbed.deadline import Deadline
from testbed.errors import InfraError
from testbed.lab.guest import Guest, clone_up, entered, guest_up
from testbed.lab.guests import Fresh
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import MODULE, HookPath
from testbed.mmap.script import Script
from testbed.vm.machine import clone
from testbed.vm.qemu import Template, VmSpec

PATIENCE = 120.0  # seconds for one cycle

# In a warm session one sample is the median of this many calls.
_CALLS = 20

Action = Callable[[], object]


@dataclass(frozen=True)
class Cycles:
    """The cycles of one prepared kernel. Each one adds to `samples`.

    Unless stated otherwise the machine lacks disks, as for most tests.
    """

    prepared: PreparedKernel
    template: Template
    samples: Samples

    def boot(self) -> None:
        """Measure a boot, from nothing to the answer of a command."""
        self._boot(BOOT, self._bare)

    def boot_with_disks(self) -> None:
        """Measure a boot of the machine with disks, as for tests with a boot of their own."""
        self._boot(BOOT_DISKS, self.prepared)

    def clones(self, at_once: int) -> None:
        """Measure this many clones at a time, from nothing to a warm session."""
        with ExitStack() as stack, ThreadPoolExecutor(at_once) as threads:
            clones = [Clone(self._bare, self.template, stack) for _ in range(at_once)]
            for action in (Clone.start, Clone.measure_memory, Clone.work):
                list(threads.map(action, clones))
            for each in clones:
                for quantity, value in each.found.items():
                    self._add(quantity, value, at_once=at_once)

    def pool(self) -> None:
        """Measure the wait of a test whose clone was prepared during the previous test."""
        ready = threading.Semaphore(0)

        @contextmanager
        def opener() -> Iterator[Guest]:
            with clone_in_scratch(self._bare, self.template) as guest:
                ready.release()
                yield guest

        with closing(Fresh(opener, ahead=1)) as guests:
            guests.take()  # for the previous test
            for _ in range(2):
                if not ready.acquire(timeout=PATIENCE):
                    raise InfraError(f"no clone was ready within {PATIENCE:.0f} s")
            began = time.monotonic()
            probe(guests.take())
            self._add(POOL_PROBE, time.monotonic() - began)

    @property
    def _bare(self) -> PreparedKernel:
        return self.prepared.without_disks()

    def _boot(self, quantity: Quantity, prepared: PreparedKernel) -> None:
        with scratch() as folder:
            began = time.monotonic()
            with guest_up(prepared, folder, Deadline.after(PATIENCE)) as guest:
                guest.session.check(["true"])
                self._add(quantity, time.monotonic() - began)

    def _add(self, quantity: Quantity, value: float, at_once: int = 1) -> None:
        self.samples.add(self.prepared.arch.name, quantity, value, at_once=at_once)


class Clone:
    """One clone, with its measurements. It ends with `stack`."""

    def __init__(self, prepared: PreparedKernel, template: Template, stack: ExitStack) -> None:
        self._prepared = prepared
        self._template = template
        self._stack = stack
        self._guest: Guest
        self.found: dict[Quantity, float] = {}

    def start(self) -> None:
        """Measure the time from nothing to the result of a probe."""
        folder = self._stack.enter_context(scratch())
        spec = clone_spec(self._prepared, self._template, folder)
        began, date = time.monotonic(), time.time()
        deadline = Deadline.after(PATIENCE)
        vm = self._stack.enter_context(clone(spec, deadline))
        reseeded = time.time()
        self._guest = self._stack.enter_context(entered(self._prepared, vm, deadline))
        probe(self._guest)
        self.found[CLONE_PROBE] = time.monotonic() - began
        times = {event.name: event.seconds for event in reversed(vm.qmp.events)}
        self.found |= {
            CLONE_QEMU: times["MIGRATION"] - date,
            CLONE_LOAD: times["RESUME"] - times["MIGRATION"],
            CLONE_RUNS: times["RESUME"] - date,
            CLONE_RESEED: reseeded - times["RESUME"],
        }

    def measure_memory(self) -> None:
        """Measure memory, once all clones of a round have answered their first probe."""
        self.found[PSS] = pss(self._guest.vm.process.pid)

    def work(self) -> None:
        """Measure calls in a warm session."""
        prober, session = self._guest.prober, self._guest.session
        # After a round trip the next probe is ready, so this is the time that a test waits.
        self.found[PROBE] = _median(lambda: prober.map(HookPath.STACK), before=session.hello)
        self.found[PROBES] = _median(lambda: prober.map(HookPath.STACK))
        self.found[EMPTY] = _median(lambda: prober.run(Script()), before=session.hello)
        self.found[ROUND_TRIP] = _median(session.hello)


def probe(guest: Guest) -> None:
    """Map through a stack, in a fresh guest."""
    guest.load(MODULE)
    made = guest.prober.map(HookPath.STACK).made
    if made.errno:
        raise InfraError(f"the measured mapping failed: {made}")


def pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes (proc(5), smaps_rollup)."""
    return parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text())


def parse_pss(rollup: str) -> int:
    (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) << 10


def clone_spec(prepared: PreparedKernel, template: Template, folder: Path) -> VmSpec:
    return dataclasses.replace(prepared.vm_spec(folder), template=template)


@contextmanager
def clone_in_scratch(prepared: PreparedKernel, template: Template) -> Iterator[Guest]:
    deadline = Deadline.after(PATIENCE)
    with scratch() as folder, clone_up(prepared, template, folder, deadline) as guest:
        yield guest


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder for the logs of one VM."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _median(call: Action, *, before: Action = lambda: None) -> float:
    """Return the median seconds of a warm call. Each call follows `before`, which is not timed."""
    call()
    found = []
    for _ in range(_CALLS):
        before()
        found.append(seconds(call))
    return statistics.median(found)


def seconds(call: Action) -> float:
    """Return the seconds that a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began
