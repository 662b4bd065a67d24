# SPDX-License-Identifier: GPL-2.0
"""Measures what the testbed costs, in parts: docs/bench.md describes them.

It prints for each quantity the median, minimum and maximum, the ratio to a peer in the same run,
and the limit that it must reach, with the word reached or missed. The candidates of a comparison
take turns, so that a busy host slows all of them equally. The samples are written as JSON, with a
picture as SVG beside them.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmark.drawing import draw
from benchmark.figures import Figure, as_json, missed_line, table_lines
from benchmark.parts import PARTS, Bench, Rounds
from rich.console import Console

from testbed.cli.exit import end_with
from testbed.context import Context
from testbed.history.database import history_url
from testbed.settings import Settings, load_settings
from testbed.terminal import make_progress, plain

_QUICK = 2  # rounds

_NAMES = [part.name for part in PARTS]


def part_lines() -> list[str]:
    """Return a line for each part: its name, what it measures, how long it takes."""
    return [
        f"  {part.name:9}  {part.what} ({part.lasts}{'; only if named' if part.is_long else ''})"
        for part in PARTS
    ]


def write(bench: Bench, figures: Sequence[Figure], picture: Path) -> None:
    """Write the picture, and the samples beside it."""
    now = datetime.now(UTC)
    about = {
        "date": now.isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "load": bench.loads,
        "cells": bench.cells,
        "notes": bench.notes,
    }
    picture.parent.mkdir(parents=True, exist_ok=True)
    title = f"mmap-testbed, {now:%Y-%m-%d}, {os.cpu_count()} processors"
    picture.write_text(draw(figures, title))
    picture.with_suffix(".json").write_text(json.dumps(as_json(figures, about), indent=1) + "\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="\n".join([str(__doc__), "parts:", *part_lines()]),
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
        "--only",
        metavar="PART[,PART]",
        help="measure these parts (default: those that need not be named; with --quick not builds)",
    )
    for name, default, what in (
        ("--rounds", 10, "boots, clones and probes"),
        ("--session-rounds", 3, "suite, run, quick, replay, and builds after a change"),
        ("--clean-rounds", 1, "builds, nothing and ci"),
    ):
        help_text = f"measure {what} in N rounds (default: %(default)s)"
        parser.add_argument(name, type=int, default=default, metavar="N", help=help_text)
    parser.add_argument(
        "--mutants",
        type=int,
        default=8,
        metavar="N",
        help="measure failure and mutants on N known-bad kernels (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", default="1", help="choose the samples of kernels and cases (default: %(default)s)"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="run all tests in suite, isolation and mutants, instead of some",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="replay the run in this folder (default: results/latest)",
    )
    parser.add_argument(
        "--database",
        metavar="URL",
        help="measure the history in this empty PostgreSQL database (default: SQLite)",
    )
    parser.add_argument(
        "--faster",
        type=float,
        default=0,
        metavar="N",
        help="let a replayed case take its recorded seconds divided by N (default: no time)",
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
        "--svg",
        type=Path,
        metavar="FILE",
        help="write the picture to this file (default: results/bench-DATE.svg)",
    )
    return parser


def parse_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(words)
    usual = [part.name for part in PARTS if not part.is_long]
    if options.quick:
        options.rounds, options.session_rounds = _QUICK, 1
        usual.remove("builds")  # they are never quick
    options.only = options.only.split(",") if options.only else usual
    if unknown := set(options.only) - set(_NAMES):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: choose from {', '.join(_NAMES)}")
    if min(options.rounds, options.session_rounds, options.clean_rounds, options.mutants) < 1:
        parser.error("at least one round is needed")
    return options


def rounds_of(options: argparse.Namespace) -> Rounds:
    return Rounds(
        cycles=options.rounds,
        sessions=options.session_rounds,
        builds=options.clean_rounds,
        kernels=options.mutants,
        whole=options.whole,
        few=options.quick,
        peer=options.peer,
        faster=options.faster,
        seed=options.seed,
    )


def report(bench: Bench, console: Console, picture: Path) -> None:
    figures = bench.samples.figures()
    loads = f"{min(bench.loads):.1f} to {max(bench.loads):.1f}"
    lines = (
        *table_lines(figures),
        *bench.notes,
        *bench.cells,
        f"load of the host: {loads}, with {os.cpu_count()} processors",
        missed_line(figures),
        f"picture: {picture}",
    )
    for line in lines:
        plain(console, line)
    write(bench, figures, picture)


def main() -> int:
    options = parse_options()
    console = Console()
    settings = load_settings(None, {"arch": options.arch, "kernel": options.kernel})
    record = options.record or settings.results_dir / "latest"
    database = history_url(Settings(history=options.database)) if options.database else None
    ctx = Context.of(settings, make_progress(console))
    bench = Bench(ctx, rounds_of(options), record, database)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    try:
        for part in PARTS:
            if part.name in options.only:
                part.measure(bench)
    finally:
        if bench.loads:  # report the samples so far even after an error
            report(bench, console, options.svg or settings.results_dir / f"bench-{stamp}.svg")
    return 0


if __name__ == "__main__":
    end_with("bench", main)
