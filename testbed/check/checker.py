# SPDX-License-Identifier: GPL-2.0
"""Runs every trial on a driver, each in a guest with the driver freshly loaded."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from testbed.check.checkplan import CheckPlan
from testbed.check.faultinject import MakeSweep, sweeps_on
from testbed.check.result import Checked, TrialResult, path_changes
from testbed.check.script import BaseMapping, DriverNode
from testbed.check.survey import Survey
from testbed.check.trials import Trial, trials_on
from testbed.errors import (
    GuestError,
    GuestFileError,
    GuestLost,
    GuestTimeout,
    ProbeProtocolError,
    TestbedError,
)
from testbed.kernel.driver import Driver
from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.mmap.faultinject import let_allocations_fail
from testbed.mmap.observation import Observation
from testbed.mmap.path import MODULE, HookPath
from testbed.mmap.script import Script
from testbed.progress import Step

# The first trial. If it fails, no other trial runs.
_LOAD = "load"

# A path is given up after this many trials that broke the kernel.
_MOST_BROKEN = 3

# A comparison of two paths lists at most this many facts.
_SHOWN = 4

# Judges an observation. Returns complaints, and the facts to compare.
Judge = Callable[[Observation], tuple[list[str], Mapping[str, str]]]

# Runs one trial on a path, and compares it with the result on the first path.
Attempt = Callable[[HookPath, TrialResult | None], TrialResult]


@dataclass
class Checker:
    """Runs the trials of one driver on one architecture."""

    lab: Lab
    arch: str
    driver: Driver
    name: str  # as the user named it
    node: str
    plan: CheckPlan
    base_mappings: tuple[BaseMapping, ...] = ()  # empty: the survey finds them
    _outcomes: list[TrialResult] = field(default_factory=list)
    _copied_to: Guest | None = None  # the last guest that got the modules
    _step: Step = field(init=False)

    @property
    def driver_node(self) -> DriverNode:
        return DriverNode(self.node, self.driver.name, self.plan.memory)

    def run(self) -> Checked:
        """Run every trial that the plan does not leave out.

        Raises:
            InfraError, BootError: no guest came up, or the host failed.
        """
        self.lab.prepared(self.arch)
        with self.lab.ctx.progress.step(f"check {self.name} on {self.arch}") as self._step:
            self._run()
        notes = [f"build warning: {self.driver.warning}"] if self.driver.warning else []
        if options := shlex.join(self.lab.ctx.settings.user_words):
            notes.append(f"options: {options}")
        kernel = self.lab.prepared(self.arch).kernel
        return Checked(
            arch=self.arch,
            kernel=kernel.release,
            driver=self.name,
            node=self.node,
            base_mappings=tuple(map(str, self.base_mappings)),
            outcomes=tuple(self._outcomes),
            notes=tuple(notes),
        )

    def _run(self) -> None:
        script = Script()
        opened = script.open("file", self.node)
        loaded = self._try(_LOAD, self.plan.paths[0], script, partial(_was_opened, opened))
        self._outcomes.append(loaded)
        if loaded.complaints:
            return
        self.base_mappings = self.base_mappings or tuple(
            filter(None, map(self._survey, self.plan.sharing))
        )
        for base in self.base_mappings:
            self._try_all(base)

    def _survey(self, sharing: str) -> BaseMapping | None:
        """Find a mapping that the driver allows. The plan's first sharing must allow one."""
        path = self.plan.paths[0]
        made = Survey(path, self.driver_node, self.plan, sharing)

        def judge(seen: Observation) -> tuple[list[str], Mapping[str, str]]:
            found.append(made.base(seen))
            needed = sharing == self.plan.sharing[0] and found[-1] is None
            errors = sorted({fact.error for fact in seen.facts.values() if fact.op == "map"})
            return [f"no mapping succeeds: {', '.join(errors)}"] if needed else [], {}

        found: list[BaseMapping | None] = []
        outcome = self._try(f"survey-{sharing}", path, made.script.probe_script, judge)
        if outcome.complaints:
            self._outcomes.append(outcome)
        return found[0] if found else None

    def _try_all(self, base: BaseMapping) -> None:
        for trial in trials_on(base, self.plan):
            reason = trial.why_not(self.plan)
            self._try_paths(trial.name, reason, partial(self._try_trial, trial))
        for name, sweep in sweeps_on(base):
            reason = self._why_no_sweep(name, base)
            self._try_paths(name, reason, partial(self._try_sweep, name, sweep))

    def _try_paths(self, name: str, reason: str, attempt: Attempt) -> None:
        """Run a trial on each path, or record the reason for which it is skipped."""
        first: TrialResult | None = None
        for path in self.plan.paths:
            why_not = reason or self._given_up(path)
            skipped = TrialResult(trial=name, path=path, skipped=why_not)
            self._outcomes.append(skipped if why_not else attempt(path, first))
            first = first or self._outcomes[-1]

    def _given_up(self, path: HookPath) -> str:
        """Return why a path is given up, or "". Each guest that hangs costs a long timeout."""
        broken = sum(each.path == path and each.broke for each in self._outcomes)
        return f"{broken} trials broke the kernel on {path}" if broken >= _MOST_BROKEN else ""

    def _why_no_sweep(self, name: str, base: BaseMapping) -> str:
        if self.plan.skips(name):
            return "the plan leaves it out"
        if self.lab.prepared(self.arch).kernel.symbol("FAILSLAB") != "y":
            return "fault injection needs --flavour debug"
        return "" if base.pages >= 3 else "the base mapping has fewer than 3 pages"

    def _try_trial(self, trial: Trial, path: HookPath, first: TrialResult | None) -> TrialResult:
        """Run a trial on a path, and compare its facts with the first path's."""
        script, rules = trial.script(path, self.driver_node)

        def judge(seen: Observation) -> tuple[list[str], Mapping[str, str]]:
            facts = script.facts(seen)
            complaints = list(rules(seen))
            if first is not None and first.facts:
                complaints += _path_complaints(first, facts)
            return complaints, facts

        return self._try(trial.name, path, script.probe_script, judge, unloads=trial.unloads)

    def _try_sweep(
        self, name: str, sweep: MakeSweep, path: HookPath, first: TrialResult | None
    ) -> TrialResult:
        """Run a fault injection trial on a path. Its facts are not compared."""
        made = sweep(path, self.driver_node)
        return self._try(name, path, made.script, partial(_swept, made.complaints), fails=True)

    def _try(
        self,
        name: str,
        path: HookPath,
        script: Script,
        judge: Judge,
        *,
        unloads: bool = False,
        fails: bool = False,
    ) -> TrialResult:
        """Run a script in a guest. Every error of the guest becomes a complaint."""
        complaints: list[str] = []
        evidence: list[str] = []
        errors: list[TestbedError] = []
        facts: Mapping[str, str] = {}
        self._step.update(len(self._outcomes), note=f"{name} on {path}")
        with self.lab.guest(self.arch, disks=False) as guest:
            self._copy_modules(guest)
            guest.begin(f"{name} on {path}")
            try:
                self._load(guest, unloads=unloads)
                if fails:
                    let_allocations_fail(guest.session)
                before = self._counters(guest)
                seen = guest.prober.run(script)
                complaints, facts = judge(seen)
                complaints += _counter_complaints(before, self._counters(guest))
                evidence = [seen.report()] if complaints else []
            except (GuestError, ProbeProtocolError) as error:
                errors.append(error)
            try:
                guest.finish()
            except GuestError as error:
                errors.append(error)
            complaints += [error.message for error in errors]
            evidence += [error.evidence for error in errors if error.evidence]
            guest.has_evidence = guest.has_evidence or bool(complaints)
        return TrialResult(
            trial=name,
            path=path,
            complaints=tuple(dict.fromkeys(complaints)),
            evidence="\n".join(evidence),
            facts=facts,
            broke=any(isinstance(error, GuestLost | GuestTimeout) for error in errors),
        )

    def _copy_modules(self, guest: Guest) -> None:
        """Copy the modules into a guest, once: a replaced file is freed later."""
        if guest is self._copied_to:
            return
        for module in self.driver.modules:
            guest.session.put(module.path.read_bytes(), f"/{module.path.name}")
        # The files use memory, so the ledger starts after them.
        guest.ledger, self._copied_to = None, guest

    def _load(self, guest: Guest, *, unloads: bool) -> None:
        guest.load(MODULE)
        for name in self.driver.needs:
            guest.session.check(["modprobe", name])
            guest.at_end(partial(guest.session.check, ["modprobe", "-r", name]))
        for module in self.driver.modules:
            parameters = self.plan.parameters if module is self.driver.modules[-1] else ""
            guest.session.load_module(f"/{module.path.name}", parameters)
            guest.at_end(partial(_unload, guest, module.name, unloads=unloads))
        if self.plan.write:
            texts = [(path, text.encode()) for path, text in self.plan.write.items()]
            guest.session.write(*texts)

    def _counters(self, guest: Guest) -> dict[str, str]:
        return {path: guest.session.get(path).decode() for path in self.plan.counters}


def _was_opened(step: int, seen: Observation) -> tuple[list[str], Mapping[str, str]]:
    number = seen[step].errno
    error = errno.errorcode.get(number, str(number))
    return [f"the node cannot be opened: {error}"] if number else [], {}


def _swept(
    complaints: Callable[[Observation], Iterator[tuple[int, str]]], seen: Observation
) -> tuple[list[str], Mapping[str, str]]:
    return [f"when allocation {number} fails: {text}" for number, text in complaints(seen)], {}


def _path_complaints(first: TrialResult, facts: Mapping[str, str]) -> list[str]:
    changes = path_changes(first.facts, facts)
    complaints = [
        f"{each.where} is {each.new}, but {each.base} on {first.path}" for each in changes[:_SHOWN]
    ]
    if len(changes) > _SHOWN:
        complaints.append(f"{len(changes) - _SHOWN} more facts differ from {first.path}")
    return complaints


def _counter_complaints(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"{path} is {after[path].strip()}, was {text.strip()}"
        for path, text in before.items()
        if after[path] != text
    ]


def _unload(guest: Guest, name: str, *, unloads: bool) -> None:
    """Unload a module of the driver.

    Raises:
        GuestFileError: it cannot be unloaded. If it is in use, the message counts its references.
    """
    try:
        guest.session.unload_module(name)
    except GuestFileError as error:
        if error.errno == errno.ENOENT and unloads:
            return
        if error.errno != errno.EAGAIN:
            raise
        count = _references(guest.session.get("/proc/modules").decode().splitlines(), name)
        are = "reference stays" if count == 1 else "references stay"
        message = f"{name}.ko cannot be unloaded: {count} {are} behind"
        raise GuestFileError(message, errno=error.errno) from error


def _references(lines: Sequence[str], name: str) -> int:
    """Return a module's reference count, the third word of its line in /proc/modules."""
    return next((int(line.split()[2]) for line in lines if line.split()[0] == name), 0)
