# SPDX-License-Identifier: GPL-2.0
"""What scripts/bench measures: each quantity with its unit, its peer, and the limit to reach."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum


class Unit(Enum):
    """A unit of display: its name, its size in its base, the digits after the point, its base."""

    SECONDS = ("s", 1.0, 2, "seconds")
    MILLISECONDS = ("ms", 1e-3, 1, "seconds")
    MINUTES = ("min", 60.0, 1, "seconds")
    MEGABYTES = ("MB", 1e6, 1, "bytes")
    RATIO = ("", 1.0, 3, "ratio")
    CASES = ("", 1.0, 0, "cases")
    RATE = ("cases/s", 1.0, 0, "cases a second")

    def show(self, value: float) -> str:
        name, size, digits, _ = self.value
        return f"{value / size:.{digits}f} {name}".rstrip()

    @property
    def base(self) -> str:
        return str(self.value[3])


class Against(Enum):
    """The way in which a figure is compared with another one."""

    RATIO = "ratio"
    DIFFERENCE = "difference"

    def value_of(self, ours: float, theirs: float) -> float:
        return ours / theirs if self is Against.RATIO else ours - theirs


@dataclass(frozen=True)
class Quantity:
    """A measured quantity, in the base of its unit."""

    group: str  # the quantities of a group are drawn to one scale
    what: str
    unit: Unit = Unit.SECONDS
    against: str = ""  # the quantity to compare it with, if that was measured
    how: Against = Against.RATIO
    limit: float | None = None  # the most that its median may be, in the base of its unit


CYCLE = "From nothing"
PEER = Quantity(CYCLE, "virtme-ng, one command")
BOOT = Quantity(CYCLE, "boot to first answer", against=PEER.what)
BOOT_DISKS = Quantity(CYCLE, "boot to first answer, with disks", against=PEER.what)
CLONE_PROBE = Quantity(CYCLE, "clone to first probe result", against=PEER.what)
POOL_PROBE = Quantity(CYCLE, "prepared clone to first probe result", against=PEER.what)

CLONING = "Clone to running kernel"
CLONE_RUNS = Quantity(CLONING, "clone to running kernel", Unit.MILLISECONDS)
CLONE_QEMU = Quantity(CLONING, "part of it: start of QEMU", Unit.MILLISECONDS)
CLONE_LOAD = Quantity(CLONING, "part of it: loading the state", Unit.MILLISECONDS)
CLONE_RESEED = Quantity(CLONING, "after it: reseeding", Unit.MILLISECONDS)

SESSION = "In a warm session"
PROBE = Quantity(SESSION, "one probe", Unit.MILLISECONDS, limit=0.004)
PROBES = Quantity(SESSION, "probes back to back, each", Unit.MILLISECONDS)
EMPTY = Quantity(SESSION, "one empty probe", Unit.MILLISECONDS)
ROUND_TRIP = Quantity(SESSION, "round trip to the agent", Unit.MILLISECONDS)

MEMORY = "Memory of a clone after one probe"
PSS = Quantity(MEMORY, "PSS of a clone", Unit.MEGABYTES)

SUITE = "Tests: time of each further test"
SHARED = Quantity(SUITE, "one VM for all", Unit.MILLISECONDS)
CLONES = Quantity(SUITE, "a clone for each", Unit.MILLISECONDS, SHARED.what, Against.DIFFERENCE)
PARALLEL = dataclasses.replace(CLONES, what="a clone for each, -n auto")
BOOTS = dataclasses.replace(CLONES, what="a boot for each")

JOB = "The main job, warm"
RUN = Quantity(JOB, "testbed run, all cases", Unit.MINUTES, limit=360)
QUICK = Quantity(JOB, "testbed run --quick", limit=60)
CASE = "The main job: CPU time of all processes"
RUN_CPU = Quantity(CASE, "testbed run, each case", Unit.MILLISECONDS, limit=0.1)

ISOLATION = "A sample of the cases, by isolation"
IN_CLONES = Quantity(ISOLATION, "a run with a clone for each case")
IN_BATCHES = Quantity(ISOLATION, "a run in batches", against=IN_CLONES.what)
SHARE = Quantity("Batches against clones", "of the time with clones", Unit.RATIO, limit=0.15)
DIFFERING = Quantity("Cases that differ", "cases that differ in batches", Unit.CASES, limit=0)

BROKEN = "A broken kernel, warm"
FIRST_FAILURE = Quantity(BROKEN, "testbed run, until the first failure", limit=20)
KILLED = Quantity(BROKEN, "testbed mutants, a killed one beyond its build", limit=10)

# With 16 workers, each of which takes 0.1 s for a case.
COORDINATOR = "The coordinator of 16 workers"
REPLAY_CPU = Quantity(COORDINATOR, "CPU time of each case", Unit.MILLISECONDS, limit=0.1 / 16)
REPLAY_WALL = Quantity(COORDINATOR, "wall time of each case", Unit.MILLISECONDS)
REPLAY_RATE = Quantity("The coordinator's cases a second", "cases a second", Unit.RATE)
REPLAY_ENDS = "The coordinator, before and after the cases"
REPLAY_START = Quantity(REPLAY_ENDS, "CPU time before the first case")
REPLAY_END = Quantity(REPLAY_ENDS, "time after the last case")

# CPU time, of the database's server as well.
HISTORY = "A history of 31 nights, 8 lanes and 4,000 tests: CPU time"
HISTORY_ADD = Quantity(HISTORY, "add a cell of 4,000 tests", limit=0.5)
HISTORY_CLASSES = Quantity(HISTORY, "classify a night", limit=0.5)
HISTORY_PAGE = Quantity(HISTORY, "render the index page", limit=1)
HISTORY_NIGHTS = Quantity(HISTORY, "overview of all nights")
HISTORY_STRIPS = Quantity(HISTORY, "strips of one lane")
HISTORY_TEST = Quantity(HISTORY, "one test in a lane")
HISTORY_CHANGES = Quantity(HISTORY, "changes to accept")
HISTORY_PRUNE = Quantity(HISTORY, "what may be pruned")

FRESH = "A fresh checkout"
FRESH_RUN = Quantity(FRESH, "scripts/run from nothing", Unit.MINUTES, limit=1500)
FRESH_CI = Quantity(FRESH, ".ci/run from nothing", Unit.MINUTES, limit=1800)

BUILD = "Building a kernel"
MAKE_ALL = Quantity(BUILD, "make, from nothing")
OUR_ALL = Quantity(BUILD, "testbed, from nothing", against=MAKE_ALL.what)
STEP = "Building a kernel again, one C file changed"
MAKE_STEP = Quantity(STEP, "make, one file changed")
OUR_STEP = Quantity(STEP, "testbed, one file changed", against=MAKE_STEP.what)

# In the order of the table.
QUANTITIES = (
    *(PEER, BOOT, BOOT_DISKS, CLONE_PROBE, POOL_PROBE),
    *(CLONE_RUNS, CLONE_QEMU, CLONE_LOAD, CLONE_RESEED),
    *(PROBE, PROBES, EMPTY, ROUND_TRIP, PSS),
    *(SHARED, CLONES, PARALLEL, BOOTS),
    *(RUN, QUICK, RUN_CPU, IN_CLONES, IN_BATCHES, SHARE, DIFFERING, FIRST_FAILURE, KILLED),
    *(REPLAY_CPU, REPLAY_WALL, REPLAY_RATE, REPLAY_START, REPLAY_END),
    *(HISTORY_ADD, HISTORY_CLASSES, HISTORY_PAGE, HISTORY_NIGHTS),
    *(HISTORY_STRIPS, HISTORY_TEST, HISTORY_CHANGES, HISTORY_PRUNE, FRESH_RUN, FRESH_CI),
    *(MAKE_ALL, OUR_ALL, MAKE_STEP, OUR_STEP),
)
