# SPDX-License-Identifier: GPL-2.0
"""The search: the ends first, then one commit after another, each tried once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from testbed.bisect.history import BREAKAGE, FIX, Answer, History, Search, Stop
from testbed.bisect.journal import Journal, JournalEntry
from testbed.bisect.symptom import (
    NO_KERNEL,
    FailureSignature,
    Presence,
    Reading,
    Symptom,
    failures,
    read,
    unite,
)
from testbed.errors import SetupError, TreeError
from testbed.progress import Progress, Step
from testbed.results.model import Case, Run, Status


@dataclass(frozen=True)
class Built:
    """A kernel that is ready to run."""

    release: str
    fingerprint: str  # equal for kernels that differ only in their names


class Oracle(Protocol):
    """Builds and tests the kernels of commits."""

    def build(self, commit: str) -> Built:
        """Build the kernel of a commit.

        Raises:
            TreeError: the commit does not yield a kernel.
        """

    def run(self, commit: str) -> Run:
        """Boot the kernel of a commit, which was the last one built, and run the tests.

        Raises:
            InfraError: the host failed, twice.
        """


@dataclass
class Bisection:
    """The search of one history for one symptom."""

    history: History
    oracle: Oracle
    journal: Journal
    progress: Progress
    repeat: int = 1
    pattern: str = ""
    find_fix: bool = False

    def run(self) -> Answer:
        """Try commits until one is left.

        Commits in the journal are not tried again. An interrupt loses only the current step.

        Raises:
            SetupError: git cannot search between the ends.
            InfraError: the host failed.
        """
        self._require_order()
        if known := len(self.journal.steps):
            self.progress.note(f"resuming the search: {known} commits already tried")
        with self.progress.step("bisect") as step:
            if trouble := self._try_ends(step):
                # The next search tries the ends again.
                self.journal.forget()
                return Answer(trouble=trouble)
            return self._search(step)

    def _require_order(self) -> None:
        old, new = self.history.old, self.history.new
        if old == new:
            raise SetupError("both ends are the same commit")
        if self.history.is_ancestor(new, old):
            hint = "use --find-fix to search for a fix: there the bad end is the older one"
            if self.find_fix:
                hint = "with --find-fix the bad end is the older one"
            raise SetupError("the ends are in the wrong order", hint=hint)

    def _try_ends(self, step: Step) -> str:
        """Learn the symptom, and check that it distinguishes the ends. Return why not, or ''."""
        old, new = self.history.old, self.history.new
        shows, lacks = (old, new) if self.find_fix else (new, old)
        seen = self.journal.find(shows) or self._learn(shows, step)
        if seen.verdict is not Presence.PRESENT:
            return self._surprise(seen, "the symptom")
        seen = self.journal.find(lacks) or self._narrow(lacks, step)
        if seen.verdict is not Presence.ABSENT:
            return self._surprise(seen, "no symptom")
        return ""

    def _learn(self, commit: str, step: Step) -> JournalEntry:
        """Try the end with the symptom. Its failures are the symptom, unless a pattern is given."""
        candidate = self._build(commit, step)
        runs = self._run(candidate, step)
        signatures = () if self.pattern else _failures(runs)
        self.journal.symptom = Symptom(signatures, self.pattern)
        return self._add(candidate, unite(read(run, self.symptom) for run in runs))

    def _narrow(self, commit: str, step: Step) -> JournalEntry:
        """Try the other end. Failures that occur there too are not part of the symptom."""
        candidate = self._build(commit, step)
        if twin := self.journal.twin(candidate.fingerprint):
            return self._share(candidate, twin)
        runs = self._run(candidate, step)
        rest = tuple(sorted(set(self.symptom.signatures) - set(_failures(runs))))
        if rest:
            self.journal.symptom = Symptom(rest)
        return self._add(candidate, unite(read(run, self.symptom) for run in runs))

    def _surprise(self, seen: JournalEntry, expected: str) -> str:
        name = self.history.label(seen.commit)
        return f"expected {expected} on {name} ({seen.title}): {seen.reason}"

    def _search(self, step: Step) -> Answer:
        search = Search(self.history, FIX if self.find_fix else BREAKAGE)
        words = {
            Presence.PRESENT: search.terms.old if self.find_fix else search.terms.new,
            Presence.ABSENT: search.terms.new if self.find_fix else search.terms.old,
            Presence.UNKNOWN: "skip",
        }
        stop = search.start()
        while stop is not None:
            seen = self.journal.find(stop.commit) or self._try(stop, step)
            stop = search.say(words[seen.verdict], stop.commit)
        return search.answer()

    def _try(self, stop: Stop, step: Step) -> JournalEntry:
        self.progress.note(stop.remaining)
        candidate = self._build(stop.commit, step, stop.title)
        if twin := self.journal.twin(candidate.fingerprint):
            return self._share(candidate, twin)
        reading = self._read(candidate, step)
        if reading.verdict is Presence.UNKNOWN and candidate.built is not None:
            # A busy host may be the cause, and each skipped commit makes the answer less exact.
            self.progress.note(f"untestable, trying once more: {reading.reason}")
            reading = self._read(candidate, step)
        return self._add(candidate, reading)

    def _read(self, candidate: _Candidate, step: Step) -> Reading:
        return read_often(lambda: self._run(candidate, step, times=1)[0], self.symptom, self.repeat)

    @property
    def symptom(self) -> Symptom:
        assert self.journal.symptom is not None  # the ends were tried first
        return self.journal.symptom

    def _build(self, commit: str, step: Step, title: str = "") -> _Candidate:
        history = self.history
        candidate = _Candidate(commit, history.label(commit), title or history.title(commit))
        step.update(len(self.journal.steps), note=f"build {candidate}")
        began = time.monotonic()
        try:
            candidate.built = self.oracle.build(commit)
        except TreeError as error:
            candidate.broken = error
        candidate.build_seconds = time.monotonic() - began
        return candidate

    def _run(self, candidate: _Candidate, step: Step, times: int = 0) -> list[Run]:
        """Run the tests `times` times; 0: as often as `repeat` says."""
        if candidate.broken is not None:
            return [run_of_no_kernel(candidate.broken)]
        step.update(len(self.journal.steps), note=f"run {candidate}")
        began = time.monotonic()
        runs = [self.oracle.run(candidate.commit) for _ in range(times or self.repeat)]
        candidate.run_seconds += time.monotonic() - began
        return runs

    def _add(self, candidate: _Candidate, reading: Reading) -> JournalEntry:
        seen = JournalEntry(
            commit=candidate.commit,
            title=candidate.title,
            verdict=reading.verdict,
            reason=reading.reason,
            evidence=reading.evidence,
            kernel=candidate.built.release if candidate.built else "",
            fingerprint=candidate.fingerprint,
            shown=reading.shown,
            clean=reading.clean,
            build_seconds=round(candidate.build_seconds, 1),
            run_seconds=round(candidate.run_seconds, 1),
        )
        return self._keep(seen)

    def _share(self, candidate: _Candidate, twin: JournalEntry) -> JournalEntry:
        """Record the verdict of an equal kernel, which ran for another commit."""
        assert candidate.built is not None
        return self._keep(
            dataclasses.replace(
                twin,
                commit=candidate.commit,
                title=candidate.title,
                kernel=candidate.built.release,
                same_as=twin.commit,
                build_seconds=round(candidate.build_seconds, 1),
                run_seconds=0.0,
            )
        )

    def _keep(self, seen: JournalEntry) -> JournalEntry:
        self.journal.add(seen)
        name = self.history.label(seen.commit)
        self.progress.note(f"{name} ({seen.title}) {seen.verdict}: {seen.reason}")
        return seen


@dataclass
class _Candidate:
    """The commit under test."""

    commit: str
    label: str
    title: str
    built: Built | None = None
    broken: TreeError | None = None  # why there is no kernel
    build_seconds: float = 0.0
    run_seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.label}: {self.title}"

    @property
    def fingerprint(self) -> str:
        return self.built.fingerprint if self.built else ""


def _failures(runs: list[Run]) -> tuple[FailureSignature, ...]:
    return tuple(sorted({signature for run in runs for signature in failures(run)}))


def read_often(run: Callable[[], Run], symptom: Symptom, times: int) -> Reading:
    """Run up to `times` times; stop once the symptom shows or a run is untestable."""
    readings = [read(run(), symptom)]
    while len(readings) < times and readings[-1].verdict is Presence.ABSENT:
        readings.append(read(run(), symptom))
    return unite(readings)


def run_of_no_kernel(error: TreeError) -> Run:
    """Return a run that stands for a kernel without a build, so that patterns match the error."""
    name = type(error).__name__
    reason = error.message.partition("\n")[0]
    case = Case(test=NO_KERNEL, status=Status.MISS, error=name, reason=reason, evidence=str(error))
    return Run(name="", command="", started="", cases=(case,))
