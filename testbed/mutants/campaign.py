# SPDX-License-Identifier: GPL-2.0
"""Runs the VM tests on known-bad kernels, several side by side: `testbed mutants`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

from testbed.arch import ARCHES
from testbed.cache import digest
from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.kernel.series import Series
from testbed.kernel.source import resolve, unpack
from testbed.lab.environment import environment_of
from testbed.lab.lab import Lab
from testbed.mutants.crew import Crew, Died
from testbed.mutants.facts import GoodFacts
from testbed.mutants.mutation import (
    Fate,
    Mutation,
    Outcome,
    Records,
    by_cost,
    killers_first,
    summary_lines,
    table_lines,
    verdict_of,
)
from testbed.mutants.rates import rate_lines
from testbed.mutants.trial import SEED, Trial, Tried, lab_of
from testbed.mutants.vmatests import find_vma_tests
from testbed.progress import Step
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS, EXIT_INFRA, Environment
from testbed.settings import Settings, available_mib
from testbed.suite.identity import suite_identity
from testbed.suite.orderdata import KILLERS_FILE, SECONDS_FILE, Killers, chosen_killers
from testbed.suite.pytest_internals import compile_expression
from testbed.suite.runner import run_suite


@dataclass(eq=False)
class Place:
    """A mutation that has no outcome yet, and where it will be recorded."""

    mutation: Mutation
    arch: str
    key: str
    claim: IO[bytes] | None = None
    trial: Trial | None = None  # while it runs


@dataclass
class Campaign:
    """Attempts to kill mutations of one kernel, on the architectures of the settings."""

    ctx: Context
    series: Series  # of the good kernel
    folder: Path  # for the results
    fresh: bool = False  # whether to ignore outcomes of earlier campaigns
    tests: str | None = None  # the tests to run, as pytest -k; None: all
    quick: bool = False  # whether to run only the tests of `testbed run --quick`
    outcomes: list[Outcome] = field(default_factory=list)
    crew: Callable[[int], Crew[Tried]] = Crew
    environments: dict[str, Environment] = field(default_factory=dict)  # of good kernels, by arch
    _started: float = field(default_factory=time.time)
    _good: dict[str, str] = field(default_factory=dict)  # the keys of the good kernels, by arch

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
                self._try_all(mutations, arch, good, step)
                # Rule out tests that fail only because of the order: they kill nothing.
                self.good_kernel(arch, killers_first(self.records.kills(arch)))

    @cached_property
    def _sieve(self) -> frozenset[str] | None:
        """The files that the tree's own userland tests of VMAs compile; None without the tests."""
        tree = unpack(resolve(self.ctx.settings.kernel, self.ctx), self.ctx)
        tests = find_vma_tests(tree, self.series, self.ctx)
        return tests.files if tests else None

    @cached_property
    def records(self) -> Records:
        return records_of(self.ctx.settings)

    @cached_property
    def _suite(self) -> str:
        settings = self.ctx.settings
        # The kernel's key stands for the fragments.
        tests = self.tests or ""
        if self.quick:
            # The selection depends on data that no verdict depends on.
            tests = digest(tests, SECONDS_FILE.read_text(), KILLERS_FILE.read_text())
        how = (settings.isolation, settings.cmdline, *settings.qemu)
        return digest(suite_identity(), tests, *how)

    def good_kernel(self, arch: str, first: Sequence[str] = ()) -> str:
        """Return the key of the good kernel, after proof that all tests are green in this order.

        `first` are the node ids of the tests to run first. A recorded proof is not repeated, and
        of several campaigns one makes it.
        """
        with closing(lab_of(self.ctx, self.series, arch, self.folder)) as lab:
            prepared = lab.prepared(arch)
            good = prepared.kernel.key
            self.environments[arch] = environment_of(prepared, self.ctx.settings.isolation)
            self._good[arch] = good
            key = digest("control", good, arch, self._suite, *first)
            if not self._is_proved(key, arch, first):
                with self._claimed(key, f"the kernel without a mutation ({arch})"):
                    if not self._is_proved(key, arch, first):
                        self.prove_green(lab, first)
                        if not first:
                            self.facts_of(arch, good).keep(lab.run_dir)
                        control = Outcome(mutation="", identity="", arch=arch, fate=Fate.SURVIVED)
                        self.records.keep(key, control, "")
        return good

    def _is_proved(self, key: str, arch: str, first: Sequence[str]) -> bool:
        """Whether the good kernel was green; in the usual order its facts are needed, too."""
        if self.records.find(key) is None:
            return False
        return bool(first) or self.facts_of(arch, self._good[arch]).kept

    def facts_of(self, arch: str, good: str) -> GoodFacts:
        """Return the place of the facts that the tests saw on the good kernel."""
        name = digest("facts", good, arch, self._suite)
        return GoodFacts(self.records.root / "good" / name)

    def prove_green(self, lab: Lab, first: Sequence[str]) -> None:
        found = run_suite(lab, self.tests, first=first, quick=self.quick, seed=SEED)
        wrong = [case for case in found.cases if not case.status.as_expected]
        if wrong or verdict_of(found)[0] is not Fate.SURVIVED:
            evidence = "\n".join(f"{case.test}: {case.reason}" for case in wrong[:10])
            message = "the tests are not green on the kernel without a mutation"
            raise InfraError(message, evidence=evidence, logs=(lab.run_dir,))

    def _try_all(self, mutations: Sequence[Mutation], arch: str, good: str, step: Step) -> None:
        """Give each mutation an outcome: a recorded one, one of this campaign, or of another."""
        left = deque(self.places(mutations, arch, good))
        running: list[Place] = []
        try:
            with self.crew(self.ctx.settings.worker_count(available_mib())) as crew:
                while left or running:
                    self._begin(left, running, crew, mutations)
                    names = ", ".join(place.mutation.name for place in running)
                    step.update(len(self.outcomes), note=names)
                    if running:
                        self._finish(running, crew, mutations)
                    elif left:
                        self._wait_for_another(left[0])
        finally:
            for place in running:
                _release(place)

    def places(self, mutations: Sequence[Mutation], arch: str, good: str) -> list[Place]:
        """Return where the outcomes of these mutations of a good kernel are recorded."""
        return [
            Place(each, arch, digest(each.identity, good, arch, self._suite)) for each in mutations
        ]

    def _begin(
        self,
        left: deque[Place],
        running: list[Place],
        crew: Crew[Tried],
        mutations: Sequence[Mutation],
    ) -> None:
        """Start trials until the crew is full, and move them from `left` to `running`.

        A mutation with an outcome needs no trial. One that another campaign tries stays in `left`.
        """
        for _ in range(len(left)):
            if crew.full:
                break
            place = left.popleft()
            known = self._known(place)
            if known is None:
                place.claim = self.records.claim(place.key)
                if place.claim is None:
                    left.append(place)
                    continue
                running.append(place)
                known = self._known(place)  # another campaign may have ended it meanwhile
                if known is None:
                    place.trial = self._trial(place)
                    crew.start(place.trial)
                    continue
                running.remove(place)
                _release(place)
            self._add(place, known, mutations)

    def _finish(
        self, running: list[Place], crew: Crew[Tried], mutations: Sequence[Mutation]
    ) -> None:
        """Wait until a trial ends, and keep its outcome."""
        for trial, found in crew.wait():
            place = next(each for each in running if each.trial is trial)
            running.remove(place)
            tried = _unknown(place, found) if isinstance(found, Died) else found
            if tried.retried:
                note = f"{place.arch} {place.mutation.name}: tried again after: {tried.retried}"
                self.ctx.progress.note(note)
            self.records.keep(place.key, tried.outcome, tried.log)
            _release(place)
            self._add(place, tried.outcome, mutations)

    def _wait_for_another(self, place: Place) -> None:
        with self._claimed(place.key, f"{place.mutation.name} ({place.arch})"):
            pass

    def _claimed(self, key: str, what: str) -> IO[bytes]:
        """Claim a key. If another campaign has it, wait, with a note."""
        claim = self.records.claim(key)
        if claim is None:
            self.ctx.progress.note(f"waiting for another campaign that tries {what}")
            claim = self.records.claim(key, wait=True)
        assert claim is not None
        return claim

    def _known(self, place: Place) -> Outcome | None:
        """Return the outcome that needs no trial, if any."""
        mutation = place.mutation
        if mutation.arches and place.arch not in mutation.arches.split():
            reason = f"compiled only on {mutation.arches}"
            return _outcome(place, Fate.ABSENT, reason)
        # Of a campaign with `fresh`, the outcomes count that others have found since it began.
        return self.records.find(place.key, since=self._started if self.fresh else 0.0)

    def _trial(self, place: Place) -> Trial:
        return Trial(
            mutation=place.mutation,
            arch=place.arch,
            settings=self.ctx.settings,
            series=self.series,
            tests=self.tests,
            quick=self.quick,
            first=tuple(killers_first(self.records.kills(place.arch), place.mutation)),
            sieve=self._sieve,
            good=self._facts_of_good(place.arch),
        )

    def _facts_of_good(self, arch: str) -> GoodFacts | None:
        facts = self.facts_of(arch, self._good[arch]) if arch in self._good else None
        return facts if facts is not None and facts.kept else None

    def _add(self, place: Place, found: Outcome, mutations: Sequence[Mutation]) -> None:
        """Add an outcome to the results, and its log."""
        mutation, arch = place.mutation, place.arch
        # Since the record was made, the file may have been renamed, or marked as equivalent.
        fate = found.fate
        if fate in (Fate.SURVIVED, Fate.EQUIVALENT):
            fate = Fate.EQUIVALENT if mutation.equivalent else Fate.SURVIVED
        outcome = dataclasses.replace(found, mutation=mutation.name, fate=fate)
        log = self.records.log(place.key)
        if log.exists():
            shutil.copyfile(log, self.folder / f"{mutation.name}-{arch}.log")
            words = " ".join((fate, outcome.test)).strip()
            self.ctx.progress.note(f"{arch} {mutation.name}: {words}")
        self.outcomes.append(outcome)
        write_results(self.folder, mutations, self.outcomes)


def _release(place: Place) -> None:
    if place.claim is not None:
        place.claim.close()
        place.claim = None


def _outcome(place: Place, fate: Fate, reason: str) -> Outcome:
    return Outcome(
        mutation=place.mutation.name,
        identity=place.mutation.identity,
        arch=place.arch,
        fate=fate,
        reason=reason,
    )


def _unknown(place: Place, found: Died) -> Tried:
    return Tried(_outcome(place, Fate.UNKNOWN, found.reason), found.log)


def records_of(settings: Settings) -> Records:
    """Return the outcomes of all campaigns."""
    return Records(settings.state_dir / "mutants")


def sample(mutations: Sequence[Mutation], count: int, seed: str) -> list[Mutation]:
    """Return `count` mutations that the seed chooses, in their present order."""
    chosen = sorted(mutations, key=lambda mutation: digest(seed, mutation.name))[:count]
    return [mutation for mutation in mutations if mutation in chosen]


def killers_of(mutations: Sequence[Mutation], records: Records, shipped: Killers) -> Killers:
    """Return the cases that kill these mutations, as the newest records have it.

    Of a mutation without a record on this host, the shipped kill counts.
    """
    names = {mutation.identity: mutation.name for mutation in mutations}
    newest = {
        (kill.identity, kill.arch): kill
        for arch in ARCHES
        for kill in records.kills(arch)
        if kill.identity in names
    }
    killed_by = [(kill.test, names[kill.identity]) for kill in newest.values()]
    older = {*names.values()} - {name for _, name in killed_by}
    kept = [(test, name) for test, kill in shipped.kills.items() for name in kill if name in older]
    arches = ", ".join(sorted({kill.arch for kill in newest.values()})) or "no new one"
    killed = len({name for _, name in killed_by}) + len(kept)
    source = f"the kills of {killed} of {len(names)} mutations ({arches}); {len(kept)} as before"
    return Killers(source, chosen_killers([*killed_by, *kept]))


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
    lines = [*table_lines(ordered, outcomes), "", *rate_lines(mutations, outcomes)]
    lines += ["", *summary_lines(outcomes)]
    (folder / "mutants.md").write_text("\n".join(lines) + "\n")
    values = [dataclasses.asdict(outcome) for outcome in outcomes]
    (folder / "mutants.json").write_text(json.dumps(values, indent=1) + "\n")


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """0: no mutant survived; 1: a mutant survived; 3: the host failed on one."""
    fates = {outcome.fate for outcome in outcomes}
    if Fate.SURVIVED in fates:
        return EXIT_FINDINGS
    return EXIT_INFRA if Fate.UNKNOWN in fates else EXIT_EXPECTED
