# SPDX-License-Identifier: GPL-2.0
"""`testbed fuzz`."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from testbed.cli.invocation import opened
from testbed.cli.options import FiniteRange, json_option, kernel_options
from testbed.fuzz.extra import require_extra
from testbed.lab.lab import Lab


@click.command()
@kernel_options
@json_option
@click.option(
    "--profile",
    type=click.Choice(["smoke", "hours"]),
    default="smoke",
    help="Run programs for one minute, or for two hours. Default: smoke.",
)
@click.option(
    "--seconds", type=FiniteRange(1), metavar="N", help="Run programs for N seconds instead."
)
@click.option(
    "--programs",
    type=click.IntRange(1),
    metavar="N",
    help="End after N programs, whatever time they take. With --seed these are always the same.",
)
@click.option(
    "--guests",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Run programs in N guests of each architecture at a time. With more than one, what a seed "
    "draws depends on time. Default: 1.",
)
@click.option(
    "--seed", type=int, metavar="N", help="Draw the programs of this seed. Default: a new one."
)
@click.option(
    "--corpus", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Keep the programs that reach something new in DIR. Default: fuzz/ in the state folder.",
)  # fmt: skip
@click.option(
    "--forget",
    default="",
    metavar="NAME[,NAME]",
    help="Find these known defects anew, such as KD1: they are not taken for known.",
)
@click.option(
    "--on",
    "only",
    default="",
    metavar="NAME[,NAME]",
    help="Run programs on these files of the kernel's own only, such as shm or recipe:vfb.",
)
def fuzz(
    profile: str,
    seconds: float | None,
    programs: int | None,
    guests: int,
    seed: int | None,
    corpus: Path | None,
    forget: str,
    only: str,
    **options: Any,
) -> None:
    """Run generated programs on every path, and report what differs.

    What differs without a known reason is run again alone, made as small as possible, and kept with
    a test to paste and a test in C.

    Exit status: 0 nothing new was found, 1 something was; 2, 3 and 130 as for `testbed run`.

    \b
    Examples:
      testbed fuzz --arch x86_64
      testbed fuzz --profile hours --seed 7
      testbed fuzz --on shm,ramfs,recipe:vfb --seconds 300
      testbed fuzz --seconds 600 --corpus /tmp/empty --forget KD7,KD8
    """
    require_extra()
    from testbed.fuzz.fuzzing import Fuzzing

    with opened(options) as invocation:
        invocation.show_series()
        with closing(Lab(invocation.ctx, invocation.series)) as lab:
            fuzzing = Fuzzing.of(
                lab,
                profile,
                seconds=seconds,
                programs=programs,
                seed=random.SystemRandom().randrange(1 << 32) if seed is None else seed,
                corpus=corpus,
                forget=tuple(filter(None, forget.split(","))),
                only=tuple(filter(None, only.split(","))),
                guests=guests,
            )
            try:
                fuzzing.run()
            finally:
                invocation.report((*fuzzing.lines(), *_place(lab)), fuzzing.content())
    sys.exit(int(bool(fuzzing.found)))


def _place(lab: Lab) -> Iterator[str]:
    if lab.started:
        yield f"results: {lab.run_dir}"
