# SPDX-License-Identifier: GPL-2.0
"""Runs the cells of a table on the hosts of an executor. The table decides, and nothing else.

Rules, each found by killing things:

- A cell is started only on a host that has room for it now: a cell that waits inside an engine
  would be blamed for the death of its host, and lost with the engine.
- An attempt counts only by the result in the cell's folder.
- A cell whose host went away runs again. After the second time it runs with no other cell beside
  it, so that a cell that kills its hosts is found, and its neighbours are not blamed.
- An attempt that does not end in time is ended, and counts as failed.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from testbed.nightly.cell import Cell
from testbed.nightly.executor import (
    QEMU,
    End,
    Ended,
    Executor,
    Host,
    Job,
    fits,
    less,
    needs,
)
from testbed.nightly.kinds import KINDS
from testbed.nightly.table import Entry, Lease, State, Table
from testbed.progress import Step

# Attempts that may be the cell's own fault: one is repeated, in case the host was busy.
_FAILURES = 2

# Losses of a host with no other cell on it, after which a cell is to blame.
_LOSSES_ALONE = 2

# Attempts at a cell, whoever is to blame for their ends: nothing is repeated for ever.
_ATTEMPTS = 20

# Running cells that are named.
_SHOWN = 4

# Seconds between two looks at hosts and deadlines.
_TICK = 1.0

# An attempt may take this much longer than expected, and this many seconds more.
_SLOWER, _SLACK = 4.0, 1800.0


def limit_of(seconds: float) -> float:
    """Return the seconds after which an attempt that should take `seconds` is ended."""
    return seconds * _SLOWER + _SLACK


@dataclass
class Coordinator:
    """Runs cells until none is left, or the time is used up."""

    table: Table
    executor: Executor
    seconds: Callable[[Cell], float]  # that a cell is expected to take
    budget: float  # seconds of the night
    ended: Callable[[Entry], None]  # is called when a cell has its last state
    step: Step
    limit: Callable[[float], float] = limit_of
    clock: Callable[[], float] = time.monotonic
    _began: float = 0.0
    _idle_since: float | None = None
    _built: set[tuple[str, str]] = field(default_factory=set)  # host and kernel

    def __post_init__(self) -> None:
        self._began = self.clock() - self.table.elapsed

    @property
    def elapsed(self) -> float:
        """The seconds of the night so far."""
        return self.clock() - self._began

    @property
    def left(self) -> float:
        """The seconds of the budget that are left."""
        return max(0.0, self.budget - self.elapsed)

    def run(self, order: Callable[[Sequence[Entry]], list[Entry]]) -> None:
        """Run all queued cells, in the order that `order` gives them.

        The attempts of an interrupted call run until the executor is closed.
        """
        queue = order(self.table.of_state(State.QUEUED))
        running: dict[str, Entry] = {}
        while queue or running:
            self._start(queue, running)
            if queue or running:
                self._show(queue, running)
                for ended in self.executor.wait(_TICK):
                    self._settle(ended, queue, running)
                self._end_overdue(queue, running)

    def _start(self, queue: list[Entry], running: dict[str, Entry]) -> None:
        """Start cells as far as hosts have room and the time lasts."""
        hosts = self.executor.hosts()
        free = self._free(hosts, running)
        full: set[object] = set()  # what no host has room for
        for entry in _suspects_last(queue):
            if self.seconds(entry.cell) > self.left:
                queue.remove(entry)
                self._finish(entry, State.LEFT, "the time was used up")
                continue
            if not any(room.get(QEMU, 0) >= 1 for room in free.values()):
                break
            lease = self._lease(entry, hosts, free, running, full)
            if lease is not None:
                queue.remove(entry)
                self._begin(entry, lease, running)
                free[lease.host] = less(free[lease.host], [lease.needs])
        self._give_up_impossible(queue, running, hosts)

    def _free(
        self, hosts: Sequence[Host], running: dict[str, Entry]
    ) -> dict[str, dict[str, float]]:
        taken = defaultdict(list)
        for entry in running.values():
            assert entry.lease is not None
            taken[entry.lease.host].append(entry.lease.needs)
        return {host.name: less(host.capacity, taken[host.name]) for host in hosts}

    def _lease(
        self,
        entry: Entry,
        hosts: Sequence[Host],
        free: dict[str, dict[str, float]],
        running: dict[str, Entry],
        full: set[object],
    ) -> Lease | None:
        """Return the lease of a host with room for a cell; None if there is none now."""
        # The host that ran it last may have its result.
        for host in sorted(hosts, key=lambda host: host.name != entry.host):
            wanted = self._wanted(entry, host)
            shape = (host.name, entry.suspect, *sorted(wanted.items()))
            if shape in full:
                continue
            busy = any(each.lease and each.lease.host == host.name for each in running.values())
            if fits(wanted, free[host.name]) and not (entry.suspect and busy):
                folder = self.table.folder_of(entry.cell)
                job = Job(clamped(entry.cell, host), entry.attempts + 1, folder)
                until = self.clock() + self.limit(self.seconds(entry.cell))
                return Lease(host.name, job, until, wanted, alone=not busy)
            full.add(shape)
        return None

    def _wanted(self, entry: Entry, host: Host) -> dict[str, float]:
        if entry.suspect:
            return dict(host.capacity)
        cell = clamped(entry.cell, host)
        kind, built = KINDS[cell.kind], (host.name, cell.kernel_group) in self._built
        return needs(cell, builds=kind.compiles or not (built or kind.reads_text))

    def _begin(self, entry: Entry, lease: Lease, running: dict[str, Entry]) -> None:
        for other in running.values():
            if other.lease and other.lease.host == lease.host:
                other.lease = dataclasses.replace(other.lease, alone=False)
        self.table.begin(entry, lease, self.elapsed)
        running[entry.cell.id] = entry
        self.executor.start(lease.job, lease.host)
        self._idle_since = None

    def _settle(self, ended: Ended, queue: list[Entry], running: dict[str, Entry]) -> None:
        """Record the end of an attempt, and queue the cell again if it shall run once more."""
        entry = running.get(ended.job.cell.id)
        if entry is None or entry.attempts != ended.job.number:
            return  # of an attempt that was given up
        del running[entry.cell.id]
        if ended.end is End.RESULT:
            if not KINDS[entry.cell.kind].reads_text:
                self._built.add((entry.host, entry.cell.kernel_group))
            self._finish(entry, State.DONE, "")
        elif ended.end is End.LOST:
            self._lost(entry, ended.reason, queue)
        elif ended.end is End.CUT:
            self._again(entry, ended.reason, queue)
        else:
            self._failed(entry, ended.reason, queue, final=ended.end is End.REFUSED)

    def _lost(self, entry: Entry, reason: str, queue: list[Entry]) -> None:
        alone = entry.lease is not None and entry.lease.alone
        losses, losses_alone = entry.losses + 1, entry.losses_alone + alone
        changes = {"losses": losses, "losses_alone": losses_alone}
        if losses_alone >= _LOSSES_ALONE:
            why = f"each of {losses} hosts went away while it ran: {reason}"
            self._finish(entry, State.FAILED, why, **changes)
        else:
            self._again(entry, reason, queue, **changes)

    def _again(self, entry: Entry, reason: str, queue: list[Entry], **changes: int) -> None:
        """Queue a cell again, at the end."""
        if entry.attempts >= _ATTEMPTS:
            why = f"it was begun {entry.attempts} times: {reason}"
            self._finish(entry, State.FAILED, why, **changes)
            return
        self.table.end(entry, State.QUEUED, self.elapsed, reason=reason, **changes)
        queue.append(entry)

    def _failed(self, entry: Entry, reason: str, queue: list[Entry], *, final: bool) -> None:
        failures = entry.failures + 1
        if final or failures >= _FAILURES:
            self._finish(entry, State.FAILED, reason, failures=failures)
        else:
            self._again(entry, reason, queue, failures=failures)

    def _finish(self, entry: Entry, state: State, reason: str, **changes: int) -> None:
        self.table.end(entry, state, self.elapsed, reason=reason, **changes)
        self.ended(entry)

    def _end_overdue(self, queue: list[Entry], running: dict[str, Entry]) -> None:
        for entry in list(running.values()):
            if entry.lease and entry.lease.until < self.clock():
                self.executor.cancel(entry.lease.job)
                del running[entry.cell.id]
                self._failed(entry, "it did not end in time", queue, final=False)

    def _give_up_impossible(
        self, queue: list[Entry], running: dict[str, Entry], hosts: Sequence[Host]
    ) -> None:
        """Give up cells that nothing prevents but a host that has what they need."""
        if running or not queue:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = self.clock()
        if self.clock() - self._idle_since >= self.executor.patience:
            for entry in queue:
                wanted = [self._wanted(entry, host) for host in hosts] or [{QEMU: 1.0}]
                words = ", ".join(f"{name}={amount:g}" for name, amount in wanted[0].items())
                self._finish(entry, State.FAILED, f"no host has room for it: {words}")
            queue.clear()

    def _show(self, queue: Sequence[Entry], running: dict[str, Entry]) -> None:
        whole = len(self.table.entries)
        done = whole - len(queue) - len(running)
        names = [entry.cell.title for entry in islice(running.values(), _SHOWN)]
        more = [f"{len(running) - _SHOWN} more"] if len(running) > _SHOWN else []
        self.step.update(done, total=whole, note=", ".join(names + more))


def _suspects_last(queue: Sequence[Entry]) -> Iterator[Entry]:
    entries = list(queue)
    yield from (entry for entry in entries if not entry.suspect)
    yield from (entry for entry in entries if entry.suspect)


def clamped(cell: Cell, host: Host) -> Cell:
    """Return the cell with no more workers than the host has slots; no result depends on them."""
    return dataclasses.replace(cell, workers=max(1, min(cell.workers, int(host.capacity[QEMU]))))
