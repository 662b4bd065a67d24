# SPDX-License-Identifier: GPL-2.0
"""Collects the cases of a pytest session, and writes the files of the run.

If tests run in parallel (pytest-xdist), each worker process judges its own tests. The last report
of a test carries the case to the main process; the environments follow when the worker ends.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import pytest

from testbed.cache import digest
from testbed.errors import InfraError, TestbedError
from testbed.formats.junit import write_junit
from testbed.lab.environment import environment_of
from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.mmap.kernelfacts import kernel_facts
from testbed.mmap.path import HookPath
from testbed.report.guarantees import write_coverage
from testbed.report.hooks import write_reach
from testbed.results.model import Attempt, Case, Environment, Run, Status, TestFacts, worst
from testbed.results.store import (
    append_case,
    append_facts,
    environment_from,
    remove_run_dir,
    write_run,
)
from testbed.suite.batch import wish_of
from testbed.suite.carried import Carried, attach, detach
from testbed.suite.collected import Collected
from testbed.suite.confirm import ALONE
from testbed.suite.continued import add_machine
from testbed.suite.item import arch_of, guarantees_of, parameters
from testbed.suite.kernelhooks import hooks_of
from testbed.suite.repro import again, write_repro
from testbed.suite.verdict import Verdict

_PHASES = ("setup", "call", "teardown")

# The error of a test whose worker process died twice.
WORKER_DIED = "WorkerDied"


@dataclass
class _Phases:
    """The verdicts on one test so far. Only its call can make it a PASS."""

    case: Case
    verdicts: list[Verdict] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    facts: TestFacts = field(default_factory=dict)
    seconds: float = 0.0
    retried: list[str] = field(default_factory=list)  # errors of the host that did not recur

    def judged(self, *, alone: bool) -> Case:
        """Return the case; a test whose call never ended stays a MISS.

        `alone` says whether no other test had used its guest.
        """
        if not self.verdicts:
            return self.case
        case = self._worst()
        if not self.retried:
            return case
        missed = (_missed(reason, alone=alone) for reason in self.retried)
        return dataclasses.replace(case, attempts=(*missed, *case.tries(alone=alone)))

    def _worst(self) -> Case:
        status = worst(verdict.status for verdict in self.verdicts)
        verdict = next(verdict for verdict in self.verdicts if verdict.status is status)
        return dataclasses.replace(
            self.case,
            status=status,
            error=verdict.error,
            reason=verdict.reason.partition("\n")[0],
            evidence="\n".join(self.evidence),
            seconds=round(self.seconds, 3),
        )


@dataclass
class Recorder:
    """The cases so far, and the phases of tests in progress."""

    lab: Lab
    command: str
    cases: list[Case] = field(default_factory=list)
    seed: int | None = None  # of the order of the tests
    collected: Collected = field(default_factory=Collected)
    broken: InfraError | None = None  # why the results cannot be kept, such as a full disk
    listener: Callable[[Case], None] | None = None  # is called with each case that ends
    lists_hooks: bool = True  # whether hooks.md is written: a new kernel's text takes 15 s to read
    _open: dict[str, _Phases] = field(default_factory=dict)
    _retries: int = 0  # so many of the lab's are recorded with their tests
    _died: dict[str, str] = field(default_factory=dict)  # how worker processes died, by test
    _others: dict[str, Environment] = field(default_factory=dict)  # of worker processes
    _noted: set[str] = field(default_factory=set)  # architectures in the identity of the run
    _started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock: float = field(default_factory=time.monotonic)

    def add(
        self, item: pytest.Item, report: pytest.TestReport, verdict: Verdict, guest: Guest | None
    ) -> None:
        """Record one phase of a test. After the last phase the report carries the case."""
        phases = self._open.setdefault(item.nodeid, _Phases(_new_case(item)))
        phases.seconds += report.duration
        phases.retried += self.lab.retried[self._retries :]
        self._retries = len(self.lab.retried)
        if report.when == "call" or verdict.status is not Status.PASS:
            phases.verdicts.append(verdict)
        if not verdict.status.as_expected:
            phases.evidence.append(_evidence(report, guest))
            phases.evidence += self._keep_repro(item, guest)
        if report.when == "call" and guest is not None:
            seen = guest.prober.observations
            phases.facts = {digest(each.script): kernel_facts(each) for each in seen}
        if report.when == "teardown":
            phases = self._open.pop(item.nodeid)
            self._note_machine(phases.case.arch)
            isolation = wish_of(item, self.lab.ctx.settings.isolation).isolation
            alone = item.stash.get(ALONE, False) or isolation.alone
            attach(report, Carried(phases.judged(alone=alone), phases.facts))

    def take(self, report: pytest.TestReport) -> None:
        """Record the case that a report carries, and remove it: pytest keeps all reports."""
        if (content := detach(report)) is not None:
            if content.facts:
                append_facts(self.lab.run_dir, report.nodeid, content.facts)
            self._keep(self._with_death(content.case))
        elif report.when not in _PHASES:
            # pytest-xdist reports a worker that died in this test as a phase `???`.
            reason = str(report.longrepr).partition("\n")[0]
            self._keep(Case(test=report.nodeid, error=WORKER_DIED, reason=reason))

    def note_death(self, test: str) -> None:
        """Record that a worker process died in a test, which runs again."""
        self._died[test] = f"a worker process died in {test}; it ran again"
        self.lab.note_retry(self._died[test])

    def _with_death(self, case: Case) -> Case:
        if (reason := self._died.get(case.test)) is None:
            return case
        alone = self.lab.ctx.settings.isolation.alone
        died = _missed(reason, alone=alone, error=WORKER_DIED)
        return dataclasses.replace(case, attempts=(died, *case.tries(alone=alone)))

    def result(self) -> str:
        """Return the data of a worker process for `join`, as JSON."""
        result = {
            "environments": [dataclasses.asdict(env) for env in self._environments()],
            "retried": self.lab.retried,
            "at fault": self.lab.kernel_at_fault,
        }
        return json.dumps(result)

    def join(self, result: str) -> None:
        """Merge the `result` of a worker process."""
        content = json.loads(result)
        self.lab.retried += content["retried"]
        self.lab.fault_elsewhere |= content["at fault"]
        for values in content["environments"]:
            environment = environment_from(values)
            self._others[environment.arch] = environment

    def run(self) -> Run:
        """Return the run so far."""
        return Run(
            name=self.lab.run_dir.name,
            command=self.command,
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._clock, 3),
            environments=tuple(self._environments()),
            cases=self._in_order(),
            seed=self.seed,
            left_out=self.collected.left_out,
            retried=tuple(self.lab.retried),
        )

    def _in_order(self) -> tuple[Case, ...]:
        """Return the cases so far. They end in another order with each seed and with workers."""
        cases = (*self.cases, *(phases.case for phases in self._open.values()))
        places = {test: place for place, test in enumerate(self.collected.tests)}
        return tuple(sorted(cases, key=lambda case: places.get(case.test, len(places))))

    def write(self) -> None:
        """Write the files of the run, or remove its folder if no test ran."""
        if self.cases or self._open:
            run = self.run()
            write_run(self.lab.run_dir, run)
            write_junit(self.lab.run_dir, run)
            if self.lists_hooks:
                write_reach(self.lab.run_dir, run, partial(hooks_of, self.lab))
            write_coverage(self.lab.run_dir, run)
        elif self.lab.started:
            remove_run_dir(self.lab.run_dir)

    def _note_machine(self, arch: str) -> None:
        """Add the kernel of a test to the identity of the run, if it was built late."""
        if arch and arch not in self._noted:
            # The test says what is wrong with the host.
            with suppress(TestbedError):
                add_machine(self.lab, arch)
                self._noted.add(arch)

    def _keep_repro(self, item: pytest.Item, guest: Guest | None) -> list[str]:
        """Write the files to run a test again; return lines for the evidence that name them."""
        arch, lab = arch_of(item), self.lab
        words = again(item.nodeid, arch, lab.ctx.settings, lab.ctx.settings.series)
        lines = [f"rerun: {shlex.join(words)}"]
        prepared = next(
            (prepared for prepared in lab.all_prepared() if prepared.arch.name == arch), None
        )
        if prepared is not None:
            seen = guest.prober.observations if guest else []
            about = dataclasses.asdict(environment_of(prepared, lab.ctx.settings.isolation))
            about |= {"test": item.nodeid, "kernel key": prepared.kernel.key}
            try:
                folder = write_repro(lab, prepared, item.nodeid, seen, about)
                lines.append(f"repro: {folder / 'run.sh'}")
            except OSError as error:
                lines.append(f"repro: it cannot be written: {error.strerror}")
        return lines

    def _environments(self) -> list[Environment]:
        own = [
            environment_of(prepared, self.lab.ctx.settings.isolation)
            for prepared in self.lab.all_prepared()
        ]
        return list((self._others | {each.arch: each for each in own}).values())

    def _keep(self, case: Case) -> None:
        """Keep a case. Each is appended to a file at once, so that a crash loses none."""
        append_case(self.lab.run_dir, case)
        self.cases.append(case)
        if self.listener is not None:
            self.listener(case)


def _missed(reason: str, *, alone: bool, error: str = "InfraError") -> Attempt:
    """Return a try that the host or the testbed spoilt."""
    line = reason.partition("\n")[0]
    return Attempt(status=Status.MISS, alone=alone, error=error, reason=line)


def _new_case(item: pytest.Item) -> Case:
    return Case(
        test=item.nodeid,
        arch=arch_of(item),
        path=str(parameters(item).get("path", "")),
        guarantees=guarantees_of(item),
        reaches=tuple(_reaches(item)),
        reason="the test did not finish",
    )


def _reaches(item: pytest.Item) -> Iterator[str]:
    """Yield `HOOK by WAY` for the marker `reaches`: by the test's path, or the stack it names."""
    path = parameters(item).get("path")
    for marker in item.iter_markers("reaches"):
        for hook in marker.args:
            yield f"{hook} by {path or marker.kwargs.get('by', HookPath.DIRECT)}"


def _evidence(report: pytest.TestReport, guest: Guest | None) -> str:
    """Return the evidence of a failure: the traceback, the last facts, and the console log."""
    parts = [report.longreprtext]
    if guest is not None:
        parts += [f"facts:\n{seen.report()}" for seen in guest.prober.observations[-1:]]
        parts.append(f"console: {guest.vm.spec.log_dir / 'console.log'}")
    return "\n".join(parts)
