# SPDX-License-Identifier: GPL-2.0
"""The kinds of cells, as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.context import Context
from testbed.nightly.bisect_cell import bisect_identity, bisect_seconds, run_bisect
from testbed.nightly.cell import Cell, Found
from testbed.nightly.fuzz_cell import fuzz_identity, fuzz_seconds, run_fuzz
from testbed.nightly.hooks_cell import AGAINST, hooks_identity, hooks_seconds, run_hooks
from testbed.nightly.mutants_cell import mutants_identity, mutants_seconds, run_mutants
from testbed.nightly.tests_cell import run_tests, tests_identity, tests_seconds
from testbed.nightly.values import Converter, some, text

TESTS = "tests"
HOOKS = "hooks"
BISECT = "bisect"

# The words after `python -P` that run a cell in a process of its own, before those for the cell.
_RUN_CELL = ("-m", "testbed.cli", "run-cell")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of cells."""

    run: Callable[[Cell, Context, Path], Found]  # runs a cell, in its folder
    identity: Callable[[Cell, Context], tuple[str, ...]]  # what a result depends on, but the kernel
    seconds: Callable[[Cell], float]  # that a cell takes, as long as no night has measured it
    keys: Mapping[str, Converter] = field(default_factory=dict)  # of its own in [[cells]]
    stream_keys: tuple[str, ...] = ()  # those of `keys` that name a stream: its kernel
    compiles: bool = False  # it compiles kernels as long as it runs
    reads_text: bool = False  # no more than that: one cell for each kernel, on any architecture
    in_matrix: bool = True  # a user may ask for it, and the history has its results
    repeatable: bool = False  # a single failure of it can be tried again, alone
    program: tuple[str, ...] = _RUN_CELL


KINDS: dict[str, Kind] = {
    TESTS: Kind(
        run=run_tests,
        identity=tests_identity,
        seconds=tests_seconds,
        repeatable=True,
    ),
    "mutants": Kind(
        run=run_mutants,
        identity=mutants_identity,
        seconds=mutants_seconds,
        keys={"count": some, "mutants": text},
        compiles=True,
    ),
    "fuzz": Kind(
        run=run_fuzz,
        identity=fuzz_identity,
        seconds=fuzz_seconds,
        keys={"minutes": some},
    ),
    HOOKS: Kind(
        run=run_hooks,
        identity=hooks_identity,
        seconds=hooks_seconds,
        keys={AGAINST: text},
        stream_keys=(AGAINST,),
        reads_text=True,
    ),
    BISECT: Kind(
        run=run_bisect,
        identity=bisect_identity,
        seconds=bisect_seconds,
        compiles=True,
        in_matrix=False,
    ),
}
