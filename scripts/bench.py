# SPDX-License-Identifier: GPL-2.0
"""Measures the cost of the testbed's parts, and prints a table: median, minimum, maximum, ratio.

- cycles: from nothing to a first answer by boot, and to a first probe by clone, one and two at a
  time; probes in a warm session; memory. With --peer also virtme-ng's cycle, one command from
  start to end, on the same kernel, which then has the file systems that virtme-ng needs.
- suite: a set of tests with one VM for all, a clone for each (also in parallel), a boot for each.
- run: `testbed run` on all architectures, with a few files of tests.
- builds: a kernel from nothing, and after a change of one file, beside the kernel's own make.

The candidates of a comparison take turns, so that a busy host slows all of them equally. The
samples are written as JSON, with a picture as SVG beside them.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmark.builds import Builds
from benchmark.cycles import PATIENCE, Cycles, scratch
from benchmark.drawing import draw
from benchmark.figures import Figure, Samples, as_json, table_lines
from benchmark.peer import PEER_ARCH, PEER_FRAGMENT, Peer, install_peer
from benchmark.sessions import ALL, FEW, FIRST_ISSUE, SOME, WAYS, Sessions, measure_command
from rich.console import Console

from testbed.cli.exit import end_with
from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.series import load_series
from testbed.lab.prepared import PreparedKernel, prepare_kernel
from testbed.lab.template import has_room, make_template, open_store
from testbed.settings import load_settings
from testbed.terminal import make_progress, plain
from testbed.vm.qemu import Template

_PARTS = ("cycles", "suite", "run", "builds")
_QUICK = 2  # rounds


class Bench:
    """The measurements of one call."""

    def __init__(self, options: argparse.Namespace, ctx: Context) -> None:
        self._options = options
        self._ctx = ctx
        self._store = open_store(ctx)
        self.samples = Samples()
        self.loads: list[float] = []  # of the host, after each round
        self.prepared_kernels: list[str] = []

    def measure(self) -> None:
        """Measure the requested parts, one architecture after the other."""
        parts = self._options.parts
        for arch in self._ctx.settings.arch:
            if "cycles" in parts:
                self._cycles(arch)
            if "suite" in parts:
                self._suite(arch)
        if "run" in parts:
            self._run()
        if "builds" in parts:
            for arch in self._ctx.settings.arch:
                self._builds(arch)

    def _cycles(self, arch: str) -> None:
        with_peer = self._options.peer and arch == PEER_ARCH
        prepared = self._prepare(arch, (PEER_FRAGMENT,) if with_peer else ())
        cycles = Cycles(prepared, self._template(prepared.without_disks()), self.samples)
        actions: list[Callable[[], object]] = [cycles.boot, cycles.boot_with_disks]
        actions += [partial(cycles.clones, 1), partial(cycles.clones, 2), cycles.pool]
        if with_peer:
            actions += [Peer(install_peer(self._ctx.cache), prepared, self.samples).cycle]
        self._rounds(f"{arch}: boots and clones", self._options.rounds, actions)

    def _suite(self, arch: str) -> None:
        sessions = self._sessions(arch)
        actions = [partial(sessions.measure, way) for way in WAYS]
        self._rounds(f"{arch}: tests by isolation", self._options.session_rounds, actions)

    def _run(self) -> None:
        arches, kernel = self._ctx.settings.arch, self._ctx.settings.kernel
        for arch in arches:
            self._sessions(arch)
        action = partial(measure_command, arches, kernel, FIRST_ISSUE, self.samples)
        self._rounds("testbed run", self._options.session_rounds, [action])

    def _builds(self, arch: str) -> None:
        with scratch() as folder:
            builds = Builds(arch, self._ctx, folder, self.samples)
            builds.copy_text()
            self._rounds(
                f"{arch}: builds from nothing", self._options.clean_rounds, [builds.build_all]
            )
            builds.warm_up()
            rounds = self._options.session_rounds
            self._rounds(f"{arch}: builds after a change", rounds, [builds.build_step])

    def _sessions(self, arch: str) -> Sessions:
        """Return sessions for which everything is built, including a template."""
        sessions = Sessions(arch, self._ctx.settings.kernel, self._options.tests, self.samples)
        with self._ctx.progress.step(f"{arch}: one test, to warm up"):
            sessions.warm_up()
        return sessions

    def _rounds(self, title: str, rounds: int, actions: Sequence[Callable[[], object]]) -> None:
        """Perform each action once per round, so that they take turns."""
        with self._ctx.progress.step(title, total=rounds) as step:
            for number in range(rounds):
                for action in actions:
                    action()
                self.loads.append(os.getloadavg()[0])
                step.update(number + 1)

    def _prepare(self, arch: str, fragments: tuple[Path, ...]) -> PreparedKernel:
        prepared = prepare_kernel(arch, load_series(""), self._ctx, fragments=fragments)
        self.prepared_kernels.append(
            f"{arch}: {prepared.kernel.release}, {prepared.accel}, QEMU {prepared.qemu_version}"
        )
        return prepared

    def _template(self, prepared: PreparedKernel) -> Template:
        if not has_room(prepared, self._store):
            raise SetupError(f"{self._store.root} lacks room for a template")
        with scratch() as folder:
            return make_template(prepared, self._store, folder, PATIENCE)


def write(bench: Bench, figures: Sequence[Figure], picture: Path) -> None:
    """Write the picture, and the samples beside it."""
    now = datetime.now(UTC)
    about = {
        "date": now.isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "load": bench.loads,
        "cells": bench.prepared_kernels,
    }
    picture.parent.mkdir(parents=True, exist_ok=True)
    title = f"mmap-testbed, {now:%Y-%m-%d}, {os.cpu_count()} processors"
    picture.write_text(draw(figures, title))
    picture.with_suffix(".json").write_text(json.dumps(as_json(figures, about), indent=1) + "\n")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--arch", help="measure on these architectures, separated by commas (default: all)"
    )
    parser.add_argument(
        "--kernel",
        help="measure this kernel: debian, debian:X.Y, tree:PATH or tarball:PATH (default: debian)",
    )
    parser.add_argument(
        "--parts",
        help=f"measure these parts of {','.join(_PARTS)} (default: all; with --quick not builds)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=10,
        metavar="N",
        help="measure boots and clones in N rounds (default: %(default)s)",
    )
    parser.add_argument(
        "--session-rounds",
        type=int,
        default=3,
        metavar="N",
        help="measure suite, run, and builds after a change in N rounds (default: %(default)s)",
    )
    parser.add_argument(
        "--clean-rounds",
        type=int,
        default=1,
        metavar="N",
        help="measure builds from nothing in N rounds (default: %(default)s)",
    )
    parser.add_argument(
        "--peer", action="store_true", help="measure virtme-ng on the same kernel as well"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="run two rounds of boots and clones, one round of sessions, and fewer tests",
    )
    parser.add_argument(
        "--whole-suite", action="store_true", help="run all tests in suite, instead of some"
    )
    parser.add_argument(
        "--svg",
        type=Path,
        metavar="FILE",
        help="write the picture to this file (default: results/bench-DATE.svg)",
    )
    options = parser.parse_args()
    default = _PARTS[:-1] if options.quick else _PARTS  # builds are never quick
    options.parts = options.parts.split(",") if options.parts else default
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"unknown part {', '.join(unknown)}")
    options.tests = ALL if options.whole_suite else SOME
    if options.quick:
        options.rounds, options.session_rounds, options.tests = _QUICK, 1, FEW
    if min(options.rounds, options.session_rounds, options.clean_rounds) < 1:
        parser.error("at least one round is needed")
    return options


def report(bench: Bench, console: Console, picture: Path) -> None:
    figures = bench.samples.figures()
    loads = f"{min(bench.loads):.1f} to {max(bench.loads):.1f}"
    lines = (
        *table_lines(figures),
        *bench.prepared_kernels,
        f"load of the host: {loads}, with {os.cpu_count()} processors",
        f"picture: {picture}",
    )
    for line in lines:
        plain(console, line)
    write(bench, figures, picture)


def main() -> int:
    options = parse_options()
    console = Console()
    settings = load_settings(None, {"arch": options.arch, "kernel": options.kernel})
    bench = Bench(options, Context.of(settings, make_progress(console)))
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    try:
        bench.measure()
    finally:
        if bench.loads:  # report the samples so far even after an error
            report(bench, console, options.svg or settings.results_dir / f"bench-{stamp}.svg")
    return 0


if __name__ == "__main__":
    end_with("bench", main)
