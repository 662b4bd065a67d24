# SPDX-License-Identifier: GPL-2.0
"""Runs the VM tests on known-bad kernels, one after another: `testbed mutants`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from testbed.cache import digest
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
from testbed.mutants.mutation import (
    UNSURE,
    Fate,
    Mutation,
    Outcome,
    Records,
    Sieve,
    by_cost,
    killers_first,
    summary_lines,
    table_lines,
    verdict_of,
)
from testbed.mutants.vmatests import VmaTests, find_vma_tests
from testbed.process import find_tool, run
from testbed.report.text import first_lines
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS, EXIT_INFRA, Run
from testbed.settings import Isolation
from testbed.suite.identity import suite_identity
from testbed.suite.pytest_internals import compile_expression
from testbed.suite.runner import run_suite

# A separate build directory, so that mutants do not cause rebuilds of other kernels.
_BUILD_DIR = "mutants"

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


@dataclass
class Campaign:
    """Attempts to kill mutations of one kernel, on the architectures of the settings."""

    ctx: Context
    series: Series  # of the good kernel
    folder: Path  # for the results
    fresh: bool = False  # whether to ignore outcomes of earlier campaigns
    tests: str | None = None  # the tests to run, as pytest -k; None: all
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, mutations: Sequence[Mutation]) -> None:
        """Try all mutations, except those with a recorded outcome for the same tests.

        Raises:
            InfraError: the tests are not green on the kernel without a mutation.
            SetupError: a tool is missing.
            TreeError: the kernel without a mutation does not build.
        """
        mutations = by_cost(mutations)
        total = len(mutations) * len(self.ctx.settings.arch)
        with self.ctx.progress.step("mutants", total) as step:
            for arch in self.ctx.settings.arch:
                good = self.good_kernel(arch)
                for mutation in mutations:
                    step.update(len(self.outcomes), note=mutation.name)
                    self.outcomes.append(self._outcome(mutation, arch, good))
                    write_results(self.folder, mutations, self.outcomes)
                # Rule out tests that fail only because of the order: they kill nothing.
                self.good_kernel(arch, killers_first(self._records.kills(arch)))

    @cached_property
    def _sieve(self) -> VmaTests | None:
        return find_vma_tests(self._tree, self.series, self.ctx)

    @cached_property
    def _records(self) -> Records:
        return Records(self.ctx.settings.state_dir / "mutants")

    @cached_property
    def _suite(self) -> str:
        settings = self.ctx.settings
        # The kernel's key stands for the fragments.
        return digest(suite_identity(), self.tests or "", settings.cmdline, *settings.qemu)

    @cached_property
    def _tree(self) -> SourceTree:
        source = resolve(self.ctx.settings.kernel, self.ctx)
        return unpack(source, self.ctx)

    def good_kernel(self, arch: str, first: Sequence[str] = ()) -> str:
        """Return the key of the good kernel, after proof that all tests are green in this order.

        `first` are the node ids of the tests to run first. A recorded proof is not repeated.
        """
        with closing(self.lab(arch, self.series, self.folder)) as lab:
            good = lab.prepared(arch).kernel.key
            key = digest("control", good, arch, self._suite, *first)
            if self._records.find(key) is None:
                self.prove_green(lab, first)
                control = Outcome(mutation="", identity="", arch=arch, fate=Fate.SURVIVED)
                self._records.keep(key, control, "")
        return good

    def prove_green(self, lab: Lab, first: Sequence[str]) -> None:
        found = run_suite(lab, self.tests, first=first)
        wrong = [case for case in found.cases if not case.status.as_expected]
        if wrong or verdict_of(found)[0] is not Fate.SURVIVED:
            evidence = "\n".join(f"{case.test}: {case.reason}" for case in wrong[:10])
            message = "the tests are not green on the kernel without a mutation"
            raise InfraError(message, evidence=evidence, logs=(lab.run_dir,))

    def _outcome(self, mutation: Mutation, arch: str, good: str) -> Outcome:
        if mutation.arches and arch not in mutation.arches.split():
            return Outcome(
                mutation=mutation.name,
                identity=mutation.identity,
                arch=arch,
                fate=Fate.ABSENT,
                reason=f"compiled only on {mutation.arches}",
            )
        key = digest(mutation.identity, good, arch, self._suite)
        known = None if self.fresh else self._records.find(key)
        if known is None:
            known, log = self._try(mutation, arch)
            self._records.keep(key, known, log)
        # Since the record was made, the file may have been renamed, or marked as equivalent.
        fate = known.fate
        if fate in (Fate.SURVIVED, Fate.EQUIVALENT):
            fate = Fate.EQUIVALENT if mutation.equivalent else Fate.SURVIVED
        outcome = dataclasses.replace(known, mutation=mutation.name, fate=fate)
        shutil.copyfile(self._records.log(key), self.folder / f"{mutation.name}-{arch}.log")
        self.ctx.progress.note(f"{arch} {mutation.name}: {' '.join((fate, outcome.test)).strip()}")
        return outcome

    def _try(self, mutation: Mutation, arch: str) -> tuple[Outcome, str]:
        """Build, boot and test a mutation; retry once if a busy host may be the cause."""
        started = time.monotonic()
        with self._rendered(mutation) as patch:
            attempt = self.try_once(mutation, patch, arch)
            if attempt.fate in UNSURE:
                self.ctx.progress.note(f"{arch} {mutation.name}: retry after: {attempt.reason}")
                attempt = self.try_once(mutation, patch, arch)
            absent = attempt.fate is Fate.ABSENT
            caught = Sieve.NONE if absent else self.judge_on_host(patch)
        outcome = Outcome(
            mutation=mutation.name,
            identity=mutation.identity,
            arch=arch,
            fate=attempt.fate,
            test=attempt.test,
            reason=attempt.reason,
            evidence=first_lines(attempt.log),
            seconds=round(time.monotonic() - started, 1),
            sieve=caught,
        )
        return outcome, attempt.log

    def try_once(self, mutation: Mutation, patch: Path, arch: str) -> Attempt:
        if not patch.stat().st_size:
            return Attempt(Fate.ABSENT, reason="it matches no code in this tree")
        first = killers_first(self._records.kills(arch), mutation)
        series = Series((*self.series.patches, read_patch(patch, exact=True)))
        with (
            tempfile.TemporaryDirectory(prefix="mutant-") as scratch,
            self.ctx.cache.passing("config", "kernel", "guest", "image"),
            closing(self.lab(arch, series, Path(scratch))) as lab,
        ):
            try:
                lab.prepared(arch)
                found = run_suite(lab, self.tests, stop_early=True, first=first)
            except PatchError as error:
                return Attempt(Fate.ABSENT, reason=error.message, log=str(error))
            except TreeError as error:
                return Attempt(Fate.BUILD, reason=error.message, log=_with_logs(error))
            except InfraError as error:
                return Attempt(Fate.UNKNOWN, reason=error.message, log=_with_logs(error))
            return _tested(found, lab.run_dir)

    def judge_on_host(self, patch: Path) -> Sieve:
        """Return the result of the tree's own userland tests of VMAs, which need no kernel."""
        return self._sieve.judge(patch) if self._sieve else Sieve.NONE

    def lab(self, arch: str, series: Series, results: Path) -> Lab:
        return Lab.for_kernel(
            self.ctx,
            series,
            arch,
            results,
            # The run stops at the first unexpected result, so no test runs on a damaged kernel.
            isolation=Isolation.SHARED,
            build_dir_name=_BUILD_DIR if series != self.series else "",
        )

    @contextmanager
    def _rendered(self, mutation: Mutation) -> Iterator[Path]:
        """Yield a patch file: the mutation itself, or the result of its semantic patch."""
        if not mutation.semantic:
            yield mutation.path
            return
        with tempfile.TemporaryDirectory(prefix="spatch-") as scratch:
            patch = Path(scratch) / f"{mutation.name}.patch"
            patch.write_text(render(mutation, self._tree.path))
            yield patch


@dataclass(frozen=True)
class Attempt:
    """The result of one attempt to kill a mutation."""

    fate: Fate
    test: str = ""
    reason: str = ""
    log: str = ""


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


def select(mutations: Sequence[Mutation], expression: str | None) -> list[Mutation]:
    """Return the mutations whose name or files match `expression`, as pytest -k.

    Raises:
        SetupError: the expression is invalid, or matches nothing.
    """
    if not expression:
        return list(mutations)
    try:
        matches = compile_expression(expression)
    except ValueError as exc:
        raise SetupError(f"-k {expression!r}: {exc}") from exc
    chosen = [each for each in mutations if matches((each.name, *each.files))]
    if not chosen:
        raise SetupError(f"no mutation matches -k {expression!r}", hint="see `--list`")
    return chosen


def write_results(folder: Path, mutations: Sequence[Mutation], outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes so far: mutants.md for people, mutants.json for programs."""
    ordered = sorted(mutations, key=lambda mutation: mutation.name)
    lines = [*table_lines(ordered, outcomes), "", *summary_lines(outcomes)]
    (folder / "mutants.md").write_text("\n".join(lines) + "\n")
    values = [dataclasses.asdict(outcome) for outcome in outcomes]
    (folder / "mutants.json").write_text(json.dumps(values, indent=1) + "\n")


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """0: no mutant survived; 1: a mutant survived; 3: the host failed on one."""
    fates = {outcome.fate for outcome in outcomes}
    if Fate.SURVIVED in fates:
        return EXIT_FINDINGS
    return EXIT_INFRA if Fate.UNKNOWN in fates else EXIT_EXPECTED
