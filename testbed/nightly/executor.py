# SPDX-License-Identifier: GPL-2.0
"""Where cells run: the interface of executors, and the counted resources of hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from testbed.flavour import find_flavour
from testbed.nightly.cell import Cell
from testbed.settings import WORKER_MIB, AccelChoice

# The names of resources, for `testbed cluster worker` as well.
QEMU = "QEMU"  # slots: processes that run tests, each with its VMs
BUILD = "BUILD"  # slots: cells that compile a kernel
RAM = "RAM"  # bytes
KVM = "KVM_"  # slots with KVM, one name for each architecture: KVM_X86_64

Resources = Mapping[str, float]


def kvm_of(arch: str) -> str:
    """Return the name of the resource of an architecture's KVM."""
    return f"{KVM}{arch.upper()}"


def needs(cell: Cell, *, builds: bool) -> dict[str, float]:
    """Return the resources that a cell takes as long as it runs."""
    mib = cell.memory_mib + find_flavour(cell.flavour).more_memory_mib + WORKER_MIB
    found: dict[str, float] = {QEMU: cell.workers, RAM: cell.workers * mib * 2.0**20}
    if builds:
        found[BUILD] = 1
    if cell.accel == AccelChoice.KVM:
        found[kvm_of(cell.arch)] = cell.workers
    return found


def fits(wanted: Resources, free: Resources) -> bool:
    return all(amount <= free.get(name, 0) for name, amount in wanted.items())


def less(whole: Resources, parts: Iterable[Resources]) -> dict[str, float]:
    """Return what is left of `whole`."""
    left = dict(whole)
    for part in parts:
        for name, amount in part.items():
            left[name] = left.get(name, 0) - amount
    return left


@dataclass(frozen=True)
class Host:
    """A host that runs cells now. The same name is the same disk, also after a restart."""

    name: str
    capacity: Resources


@dataclass(frozen=True)
class Job:
    """One attempt at a cell."""

    cell: Cell
    number: int  # 1 for the first attempt
    folder: Path  # gets the cell's result

    @property
    def key(self) -> str:
        return f"{self.cell.id}.{self.number}"


class End(StrEnum):
    """How an attempt ended."""

    RESULT = "result"  # the folder has the result
    FAILED = "failed"  # the cell's own process ended without a result
    REFUSED = "refused"  # the host lacks something that another attempt will lack as well
    LOST = "lost"  # its host went away, maybe because of another cell
    CUT = "cut"  # the engine went away: no cell is to blame


@dataclass(frozen=True)
class Ended:
    job: Job
    end: End
    reason: str = ""  # one line


class Executor(Protocol):
    """Runs cells on hosts. The coordinator alone decides what runs where."""

    patience: float  # seconds to wait for a host that has what a cell needs

    def hosts(self) -> Sequence[Host]:
        """Return the hosts that are there now."""

    def start(self, job: Job, host: str) -> None:
        """Begin an attempt on a host that has room for it."""

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the attempts that have ended, after at most so many seconds."""

    def cancel(self, job: Job) -> None:
        """End an attempt, and all that it started. `wait` does not return it."""

    def close(self) -> None:
        """End all attempts."""
