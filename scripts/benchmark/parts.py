# SPDX-License-Identifier: GPL-2.0
"""The parts of scripts/bench, each of which measures some quantities."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import URL

from benchmark.broken import BrokenKernels
from benchmark.builds import Builds
from benchmark.cycles import PATIENCE, Cycles, scratch
from benchmark.figures import Samples
from benchmark.fresh import Fresh
from benchmark.history import measure_history
from benchmark.job import MainJob
from benchmark.nights import Scale
from benchmark.peer import PEER_ARCH, PEER_FRAGMENT, Peer, install_peer
from benchmark.replay import replay
from benchmark.sessions import ALL, FEW, SOME, WAYS, Sessions
from testbed.cache import Cache
from testbed.context import Context
from testbed.errors import SetupError
from testbed.history.database import history_url
from testbed.kernel.series import load_series
from testbed.lab.prepared import PreparedKernel, prepare_kernel
from testbed.lab.template import make_template, open_store, room_for
from testbed.settings import Settings
from testbed.vm.qemu import Template


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How often the parts measure, and how much."""

    cycles: int
    sessions: int
    builds: int
    kernels: int  # known-bad ones
    whole: bool = False  # all tests, instead of some
    few: bool = False  # fewer tests than some
    peer: bool = False  # measure virtme-ng too
    faster: float = 0  # replayed cases take their recorded seconds divided by this; 0: none
    seed: str = "1"  # of samples

    @property
    def tests(self) -> str:
        return ALL if self.whole else FEW if self.few else SOME


@dataclass
class Bench:
    """The measurements of one call."""

    ctx: Context
    rounds: Rounds
    record: Path  # the folder of a run to replay
    database: URL | None = None  # an empty one for a history; None: SQLite
    samples: Samples = field(default_factory=Samples)
    loads: list[float] = field(default_factory=list)  # of the host, after each round
    cells: list[str] = field(default_factory=list)  # lines on the kernels
    notes: list[str] = field(default_factory=list)

    _store: Cache = field(init=False)

    def __post_init__(self) -> None:
        self._store = open_store(self.ctx)

    def cycles(self) -> None:
        for arch in self.ctx.settings.arch:
            self._cycles(arch)

    def _cycles(self, arch: str) -> None:
        with_peer = self.rounds.peer and arch == PEER_ARCH
        cycles = self._cycles_of(arch, (PEER_FRAGMENT,) if with_peer else ())
        actions: list[Callable[[], object]] = [cycles.boot, cycles.boot_with_disks]
        actions += [partial(cycles.clones, 1), partial(cycles.clones, 2), cycles.pool]
        if with_peer:
            peer = Peer(install_peer(self.ctx.cache), cycles.prepared, self.samples)
            actions.append(peer.cycle)
        self._repeat(f"{arch}: boots and clones", self.rounds.cycles, actions)

    def probe(self) -> None:
        for arch in self.ctx.settings.arch:
            self._probe(arch)

    def _probe(self, arch: str) -> None:
        action = partial(self._cycles_of(arch, ()).clones, 1)
        self._repeat(f"{arch}: probes", self.rounds.cycles, [action])

    def suite(self) -> None:
        for arch in self.ctx.settings.arch:
            self._suite(arch)

    def _suite(self, arch: str) -> None:
        sessions = Sessions(arch, self.ctx.settings.kernel, self.rounds.tests, self.samples)
        with self.ctx.progress.step(f"{arch}: one test, to warm up"):
            sessions.warm_up()
        actions = [partial(sessions.measure, way) for way in WAYS]
        self._repeat(f"{arch}: tests by isolation", self.rounds.sessions, actions)

    def run(self) -> None:
        self._repeat("testbed run", self.rounds.sessions, [self._job().whole])

    def quick(self) -> None:
        self._repeat("testbed run --quick", self.rounds.sessions, [self._job().quick])

    def isolation(self) -> None:
        action = partial(self._job().isolations, self.rounds.seed, whole=self.rounds.whole)
        self._repeat("batches against clones", 1, [action])

    def replay(self) -> None:
        words = (self.record, self.rounds.sessions, self.samples, self.notes, self.rounds.faster)
        self._repeat("the coordinator", 1, [partial(replay, *words)])

    def history(self) -> None:
        with scratch() as folder:
            url = self.database or history_url(Settings(data_dir=folder))
            action = partial(measure_history, url, folder, Scale(), self.samples)
            self._repeat("a history of a million results", 1, [action])

    def failure(self) -> None:
        self._repeat("first failures", 1, [partial(self._broken.first_failures, self._kernels)])

    def mutants(self) -> None:
        quick = not self.rounds.whole
        action = partial(self._broken.kills, self._kernels, quick=quick)
        self._repeat("killed mutants", 1, [action])

    def builds(self) -> None:
        for arch in self.ctx.settings.arch:
            self._builds(arch)

    def _builds(self, arch: str) -> None:
        with scratch() as folder:
            builds = Builds(arch, self.ctx, folder, self.samples)
            builds.copy_text()
            self._repeat(f"{arch}: builds from nothing", self.rounds.builds, [builds.build_all])
            builds.warm_up()
            title = f"{arch}: builds after a change"
            self._repeat(title, self.rounds.sessions, [builds.build_step])

    def nothing(self) -> None:
        self._repeat("scripts/run from nothing", self.rounds.builds, [self._fresh.run])

    def ci(self) -> None:
        self._repeat(".ci/run from nothing", self.rounds.builds, [self._fresh.ci])

    @property
    def _fresh(self) -> Fresh:
        return Fresh(self.ctx.settings, self.samples)

    def _job(self) -> MainJob:
        """Return the main job, for which everything is built, including templates."""
        settings = self.ctx.settings
        job = MainJob(
            settings.arch, settings.kernel, settings.results_dir, self.samples, self.notes
        )
        with self.ctx.progress.step("one test, to warm up"):
            job.warm_up()
        return job

    @property
    def _broken(self) -> BrokenKernels:
        return BrokenKernels(self.ctx, self.samples, self.notes, self.rounds.seed)

    @property
    def _kernels(self) -> int:
        return self.rounds.kernels

    def _cycles_of(self, arch: str, fragments: tuple[Path, ...]) -> Cycles:
        prepared = prepare_kernel(arch, load_series(""), self.ctx, fragments=fragments)
        self.cells.append(
            f"{arch}: {prepared.kernel.release}, {prepared.accel}, QEMU {prepared.qemu_version}"
        )
        return Cycles(prepared, self._template(prepared.without_disks()), self.samples)

    def _template(self, prepared: PreparedKernel) -> Template:
        if not room_for(prepared, self._store):
            raise SetupError(f"{self._store.root} lacks room for a template")
        with scratch() as folder:
            return make_template(prepared, self._store, folder, PATIENCE)

    def _repeat(self, title: str, rounds: int, actions: Sequence[Callable[[], object]]) -> None:
        """Perform each action once per round, so that they take turns."""
        with self.ctx.progress.step(title, total=rounds) as step:
            for number in range(rounds):
                for action in actions:
                    action()
                self.loads.append(os.getloadavg()[0])
                step.update(number + 1)


@dataclass(frozen=True)
class Part:
    """A part that a user can name."""

    name: str
    what: str
    lasts: str  # on two cores, without KVM
    measure: Callable[[Bench], None]
    is_long: bool = False  # whether it is measured only if it is named


PARTS = (
    Part("cycles", "boots, clones, probes, memory", "10 min", Bench.cycles),
    Part("probe", "a probe in a warm session", "1 min", Bench.probe),
    Part("suite", "the time of a test, by isolation", "10 min", Bench.suite),
    Part("run", "testbed run, all cases: wall, and CPU time of a case", "20 min", Bench.run),
    Part("quick", "testbed run --quick: wall", "3 min", Bench.quick),
    Part("isolation", "batches against clones: wall, and what differs", "10 min", Bench.isolation),
    Part("replay", "the coordinator of 16 workers, by a replay", "6 min", Bench.replay),
    Part("history", "a history of a million results", "2 min", Bench.history),
    Part("failure", "first failures of known-bad kernels", "40 min", Bench.failure, is_long=True),
    Part("mutants", "testbed mutants: a killed one", "60 min", Bench.mutants, is_long=True),
    Part("builds", "a kernel from nothing, and after a change", "60 min", Bench.builds),
    Part("nothing", "scripts/run from nothing", "30 min", Bench.nothing, is_long=True),
    Part("ci", ".ci/run from nothing", "40 min", Bench.ci, is_long=True),
)
