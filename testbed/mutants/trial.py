# SPDX-License-Identifier: GPL-2.0
"""One mutation on one architecture: it is built, booted and tested, in a process of its own.

Processes of one campaign, or of several, take turns to build: the lock of the build directory
is for one at a time. So one mutation is built while others are tested.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from testbed.context import Context
from testbed.errors import (
    CommandError,
    InfraError,
    PatchError,
    SetupError,
    TestbedError,
    TreeError,
)
from testbed.kernel.patch import read_patch
from testbed.kernel.series import Series
from testbed.kernel.source import SourceTree, resolve, unpack
from testbed.lab.lab import Lab
from testbed.mutants.facts import GoodFacts, confirmed, shown
from testbed.mutants.mutation import UNSURE, Fate, Mutation, Outcome, Sieve, verdict_of
from testbed.mutants.vmatests import VmaTests
from testbed.process import find_tool, run
from testbed.report.text import first_lines
from testbed.results.model import Run
from testbed.settings import Settings
from testbed.suite.runner import run_suite
from testbed.suite.selection import Sample
from testbed.terminal import make_progress

# A separate build directory, so that mutants do not cause rebuilds of other kernels.
BUILD_DIR = "mutants"

# The files of the layer, to which semantic patches are applied.
_LAYER = (
    "mm/util.c",
    "mm/vma.c",
    "mm/vma.h",
    "mm/memory.c",
    "mm/internal.h",
    "include/linux/fs.h",
    "include/linux/mm.h",
)

_LOG_LINES = 400

# Of the order of the tests. It is the same for all kernels: the good one must be green in it.
SEED = 0

# Entries of the cache that go with a mutation.
PASSING = ("config", "kernel", "guest", "image")


@dataclass(frozen=True)
class Attempt:
    """The result of one attempt to kill a mutation."""

    fate: Fate
    test: str = ""
    reason: str = ""
    log: str = ""
    built: float = 0.0  # seconds until the kernel and its image were ready
    facts: str = ""  # of a survivor: what differs from the good kernel's facts


@dataclass(frozen=True)
class Tried:
    """What a trial found."""

    outcome: Outcome
    log: str
    retried: str = ""  # why the first attempt did not count


@dataclass(frozen=True, kw_only=True)
class Trial:
    """All that a process must know to try one mutation on one architecture."""

    mutation: Mutation
    arch: str
    settings: Settings
    series: Series  # of the good kernel
    tests: str | None = None  # the tests to run, as pytest -k; None: all
    quick: bool = False  # whether to run only the tests of `testbed run --quick`
    first: tuple[str, ...] = ()  # node ids of the tests to run first
    sieve: frozenset[str] | None = None  # the files that the tree's userland tests compile
    good: GoodFacts | None = None  # without them, facts are not compared

    def run(self) -> Tried:
        """Try the mutation.

        Raises:
            SetupError: a tool is missing.
        """
        # The other processors are for the other trials.
        settings = dataclasses.replace(self.settings, workers=1)
        ctx = Context.of(settings, make_progress(Console()))
        tree = unpack(resolve(self.settings.kernel, ctx), ctx)
        with closing(ctx.cache), rendered(self.mutation, tree.path) as patch:
            if not patch.stat().st_size:
                reason = "it matches no code in this tree"
                return Tried(self.outcome(Attempt(Fate.ABSENT, reason=reason)), "")
            return self._try(patch, tree, ctx)

    def _try(self, patch: Path, tree: SourceTree, ctx: Context) -> Tried:
        started = time.monotonic()
        with ctx.cache.passing(*PASSING):
            attempt, retried = settled(lambda first: self._attempt(patch, first, ctx), self.first)
        tests = None
        if self.sieve is not None and attempt.fate is not Fate.ABSENT:
            tests = VmaTests(tree, self.series, ctx.cache, self.sieve)
        caught = tests.judge(patch) if tests else Sieve.NONE
        outcome = self.outcome(attempt, time.monotonic() - started, caught)
        return Tried(outcome, attempt.log, retried)

    def outcome(
        self, attempt: Attempt, seconds: float = 0.0, caught: Sieve = Sieve.NONE
    ) -> Outcome:
        """Return the outcome that an attempt is for this mutation."""
        return Outcome(
            mutation=self.mutation.name,
            identity=self.mutation.identity,
            arch=self.arch,
            fate=attempt.fate,
            test=attempt.test,
            reason=attempt.reason,
            evidence=first_lines(attempt.log),
            seconds=round(seconds, 1),
            built=round(attempt.built, 1),
            sieve=caught,
            facts=attempt.facts,
        )

    def _attempt(self, patch: Path, first: Sequence[str], ctx: Context) -> Attempt:
        series = Series((*self.series.patches, read_patch(patch, exact=True)))
        started = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="mutant-") as scratch,
            closing(lab_of(ctx, series, self.arch, Path(scratch), BUILD_DIR)) as lab,
        ):
            try:
                lab.prepared(self.arch)
                built = time.monotonic() - started
                found = run_suite(
                    lab,
                    self.tests,
                    stop_early=True,
                    first=first,
                    quick=self.quick,
                    seed=SEED,
                    lists_hooks=False,
                )
            except PatchError as error:
                return Attempt(Fate.ABSENT, reason=error.message, log=str(error))
            except TreeError as error:
                return Attempt(Fate.BUILD, reason=error.message, log=_with_logs(error))
            except InfraError as error:
                return Attempt(Fate.UNKNOWN, reason=error.message, log=_with_logs(error))
            tested = dataclasses.replace(_tested(found, lab.run_dir), built=built)
            if tested.fate is Fate.SURVIVED and self.good is not None:
                again = lab_of(ctx, series, self.arch, Path(scratch) / "again", BUILD_DIR)
                with closing(again):
                    differing = self._differing(lab.run_dir, again, self.good)
                tested = dataclasses.replace(tested, facts=differing)
            return tested

    def _differing(self, run_dir: Path, again: Lab, good: GoodFacts) -> str:
        """Return how a survivor's facts differ. What a second run does not show was chance."""
        first = good.differences(run_dir)
        if not first:
            return ""
        sample = Sample(only=frozenset(change.test for change in first))
        run_suite(again, self.tests, seed=SEED, lists_hooks=False, sample=sample)
        return shown(confirmed(first, good.differences(again.run_dir)))


def settled(
    attempt: Callable[[Sequence[str]], Attempt], first: Sequence[str]
) -> tuple[Attempt, str]:
    """Make an attempt, and repeat it once if a busy host may be the cause of its fate.

    The second attempt runs the killing test first. Return the attempt that counts, and why the
    first one did not.
    """
    found = attempt(first)
    if found.fate not in UNSURE:
        return found, ""
    own = [found.test] if found.test else []
    again = attempt([*own, *(test for test in first if test not in own)])
    return dataclasses.replace(again, built=again.built + found.built), found.reason


def lab_of(ctx: Context, series: Series, arch: str, results: Path, build_dir_name: str = "") -> Lab:
    """Return the lab for one kernel of a campaign."""
    return Lab.for_kernel(ctx, series, arch, results, build_dir_name=build_dir_name)


def _tested(found: Run, run_dir: Path) -> Attempt:
    fate, case = verdict_of(found)
    if case is None:
        return Attempt(fate, reason=f"none of {len(found.cases)} tests noticed it")
    consoles = sorted(run_dir.glob("vm-*/console.log"), key=lambda path: path.stat().st_mtime)
    parts = [case.evidence, *(f"--- {path.parent.name}\n{_tail(path)}" for path in consoles[-1:])]
    return Attempt(fate, case.test, case.reason, "\n".join(parts))


def _with_logs(error: TestbedError) -> str:
    return "\n".join([str(error), *(f"--- {path}\n{_tail(path)}" for path in error.logs)])


def _tail(path: Path) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    except OSError as exc:
        return f"unreadable: {exc}"


@contextmanager
def rendered(mutation: Mutation, tree: Path) -> Iterator[Path]:
    """Yield a patch file: the mutation itself, or the result of its semantic patch."""
    if not mutation.semantic:
        yield mutation.path
        return
    with tempfile.TemporaryDirectory(prefix="spatch-") as scratch:
        patch = Path(scratch) / f"{mutation.name}.patch"
        patch.write_text(render(mutation, tree))
        yield patch


def render(mutation: Mutation, tree: Path) -> str:
    """Return the patch that a semantic patch yields on the files of the layer.

    Raises:
        SetupError: Coccinelle is not installed, or cannot parse the semantic patch.
    """
    spatch = find_tool("spatch", package="coccinelle")
    parts = []
    for name in _LAYER:
        if not (tree / name).exists():
            continue
        try:
            # fmt: off
            parts.append(run([
                spatch, "--very-quiet", "--sp-file", mutation.path, "--patch", tree, tree / name,
            ]).stdout)
            # fmt: on
        except CommandError as exc:
            message = f"spatch cannot apply {mutation.path}"
            raise SetupError(message, evidence=exc.evidence) from exc
    return "".join(parts)
