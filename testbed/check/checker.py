# SPDX-License-Identifier: GPL-2.0
"""Runs every trial on a driver, each in a guest with the driver freshly loaded."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from testbed.check.alike import collapsed, first_of_each
from testbed.check.chain import SYMBOL as CHAIN_SYMBOL
from testbed.check.chain import TRIAL as CHAIN_TRIAL
from testbed.check.chain import ChainWatch
from testbed.check.checkplan import CheckPlan
from testbed.check.drivernode import DriverNode, Unsteady
from testbed.check.faultinject import MakeSweep, sweeps_on
from testbed.check.invariants import ranges
from testbed.check.loading import Loader, Loading, chosen_modules
from testbed.check.opening import Opener, Opening
from testbed.check.refusals import refused, tried
from testbed.check.result import Checked, TrialResult, path_changes
from testbed.check.script import BaseMapping, DriverScript
from testbed.check.survey import MORE_SIZES, Look, Survey
from testbed.check.trials import Trial, trials_on
from testbed.errors import (
    GuestError,
    GuestFileError,
    GuestLost,
    GuestTimeout,
    ProbeProtocolError,
    SessionError,
    TestbedError,
)
from testbed.guest.trace import callers
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

# Errors of a session whose kernel is clean.
_UNCLEAR = (SessionError, ProbeProtocolError)

# Errors after which a guest is of no use.
_BREAKS = (GuestLost, GuestTimeout, *_UNCLEAR)

# A path is given up after this many trials that broke the kernel.
_MOST_BROKEN = 3

_NOTHING = (
    "nothing can be mapped: see what was refused\n"
    "a plan can name sizes, offsets, and steps on the open file before mmap() (docs/check.md)"
)

# A comparison of two paths lists at most this many facts.
_SHOWN = 4

# Milliseconds between two looks at a page: before all trials, and before a complaint counts.
_SHORT = 100
_LONG = 2500

# Complaints, and the facts to compare.
Judged = tuple[list[str], Mapping[str, str]]

# Judges an observation.
Judge = Callable[[Observation], Judged]

# Makes the script for the node as it is in a guest.
Prepare = Callable[[DriverNode], tuple[Script, Judge]]

# Runs one trial on a path, and compares it with the result on the first path.
Attempt = Callable[[HookPath, TrialResult | None], TrialResult]


# What happens in a guest while a script runs.
During = Callable[[Guest], AbstractContextManager[None]]


def _as_it_is(_: Guest) -> AbstractContextManager[None]:
    return nullcontext()


def _with_failures(guest: Guest) -> AbstractContextManager[None]:
    let_allocations_fail(guest.session)
    return nullcontext()


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
    unsteady: Unsteady = field(default_factory=Unsteady)  # pages that are known to be so
    loading: Loading | None = None  # None: the modules of `driver`
    _outcomes: list[TrialResult] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _refused: list[str] = field(default_factory=list)
    _loader: Loading = field(init=False)
    _opening: Opening = field(default_factory=Opening)
    _looked_long: set[str] = field(default_factory=set)  # sharings whose pages were watched
    _step: Step = field(init=False)

    def __post_init__(self) -> None:
        if self.loading is not None:
            self._loader = self.loading
        else:
            modules = chosen_modules(self.driver, self.plan)
            self._loader = Loader(self.driver, self.plan, self.node, modules)

    def _node_in(self, guest: Guest) -> DriverNode:
        return dataclasses.replace(self.driver_node, fresh=not self._loader.keeps(guest))

    @property
    def driver_node(self) -> DriverNode:
        return DriverNode(
            self.node,
            self._opening.owner,
            self.plan.memory,
            mode=self._opening.mode,
            setup=self.plan.steps,
            unit=self.plan.unit,
            unsteady=self.unsteady,
            opener=self.plan.opener,
        )

    @property
    def _first_path(self) -> HookPath:
        """The path on which a mapping is looked for: the first that can have the node."""
        able = (path for path in self.plan.paths if not self._needs_own_file(path))
        return next(able, self.plan.paths[0])

    def run(self) -> Checked:
        """Run every trial that the plan does not leave out.

        Raises:
            InfraError, BootError: no guest came up, or the host failed.
        """
        self.lab.prepared(self.arch)
        with self.lab.ctx.progress.step(f"check {self.name} on {self.arch}") as self._step:
            try:
                self._run()
            finally:
                self._loader.leave()
        kernel = self.lab.prepared(self.arch).kernel
        return Checked(
            arch=self.arch,
            kernel=kernel.release,
            driver=self.name,
            node=self.node,
            base_mappings=tuple(map(str, self.base_mappings)),
            outcomes=tuple(self._outcomes),
            refused=tuple(self._refused),
            notes=tuple(self._all_notes()),
        )

    def _all_notes(self) -> Iterator[str]:
        if self.driver.warning:
            yield f"build warning: {self.driver.warning}"
        yield from self._opening.notes(self.driver_node)
        if self._loader.made:
            yield f"{self.node} was made for {self._loader.made} of /proc/devices"
        if self._loader.stays:
            yield f"{self._loader.stays}.ko pins itself: all trials in a guest share one loading"
        yield from (f"not below {path}: {why}" for path, why in self.plan.not_below.items())
        yield from self._notes

    def _run(self) -> None:
        opener = Opener(self.node, self._loader.modules, self.plan.steps, self.plan.opener)
        loaded = self._try(_LOAD, self._first_path, lambda _: (opener.script, opener.judge))
        self._outcomes.append(loaded)
        if loaded.complaints:
            return
        self._opening = opener.opening
        self.unsteady |= Unsteady(frozenset((0, page) for page in self.plan.volatile))
        if not self.plan.sizes:
            self.plan = dataclasses.replace(self.plan, sizes=(self._opening.pages,))
        self.base_mappings = self.base_mappings or self._survey_all()
        if self.plan.chain and self.base_mappings and self.plan.wants(CHAIN_TRIAL):
            self._outcomes.append(self._try_chain(self.base_mappings[0]))
        for base in self.base_mappings:
            self._try_all(base)

    def _survey_all(self) -> tuple[BaseMapping, ...]:
        """Find a mapping of each sharing that the driver allows. At least one must allow one."""
        found = self._survey(self.plan)
        if not any(found.values()) and self.plan.searches:
            offsets, prots = self.plan.offsets[:1], self.plan.prots[:2]
            sizes = tuple(size * self.plan.unit for size in MORE_SIZES)
            found = self._survey(
                dataclasses.replace(self.plan, sizes=sizes, offsets=offsets, prots=prots)
            )
            only = sorted({base.pages for base in found.values() if base})
            self.plan = dataclasses.replace(self.plan, sizes=(*self.plan.sizes, *only))
        bases = tuple(filter(None, found.values()))
        if not bases and not any(each.trial.startswith("survey") for each in self._outcomes):
            nothing = TrialResult(trial="survey", path=self._first_path, complaints=(_NOTHING,))
            self._outcomes.append(nothing)
        return bases

    def _survey(self, plan: CheckPlan) -> dict[str, BaseMapping | None]:
        self._refused.clear()
        return {sharing: self._survey_one(plan, sharing) for sharing in plan.sharing}

    def _survey_one(self, plan: CheckPlan, sharing: str) -> BaseMapping | None:
        path = self._first_path
        found: list[BaseMapping | None] = []

        def prepare(node: DriverNode) -> tuple[Script, Judge]:
            made = Survey(path, node, plan, sharing)

            def judge(seen: Observation) -> Judged:
                found.append(made.base(seen))
                answers = made.answers(seen)
                self._refused.append(f"{sharing}: tried {tried(answers)}")
                if errors := list(refused(answers)):
                    self._refused.append(f"{sharing}: refused {'; '.join(errors)}")
                return [], {}

            return made.script.probe_script, judge

        outcome = self._try(f"survey-{sharing}", path, prepare)
        if outcome.complaints:
            self._outcomes.append(outcome)
        return found[0] if found else None

    def _look(self, base: BaseMapping, milliseconds: int) -> bool:
        """Find pages that are not steady. Return whether there are any that were not known."""
        path, known = self._first_path, self.unsteady
        offsets = [base.offset, *(each for each in self.plan.offsets if each != base.offset)]

        def prepare(node: DriverNode) -> tuple[Script, Judge]:
            look = Look(path, node, base, offsets, milliseconds)

            def judge(seen: Observation) -> Judged:
                self.unsteady |= look.unsteady(seen)
                return [], {}

            return look.script.probe_script, judge

        looked = self._try(f"look-{base.sharing}", path, prepare)
        if looked.complaints:
            self._outcomes.append(looked)
        self._note_unsteady(base, known)
        return self.unsteady != known

    def _note_unsteady(self, base: BaseMapping, known: Unsteady) -> None:
        for pages, what in (
            (self.unsteady.by_itself - known.by_itself, "change by themselves (not compared)"),
            (
                self.unsteady.by_mapping - known.by_mapping,
                "differ between mappings (compared within one only)",
            ),
        ):
            here = sorted(page for offset, page in pages if offset == base.offset)
            if here:
                self._notes.append(f"{base.sharing}: pages that {what}: {ranges(here)}")

    def _try_chain(self, base: BaseMapping) -> TrialResult:
        """Map once, and look which functions the kernel runs."""
        path = self._first_path
        if self.lab.prepared(self.arch).kernel.symbol(CHAIN_SYMBOL) != "y":
            return TrialResult(trial=CHAIN_TRIAL, path=path, skipped="it needs --flavour drivers")
        watch = ChainWatch(self.plan.chain)

        def prepare(node: DriverNode) -> tuple[Script, Judge]:
            script = DriverScript(path, node, base)
            script.map()
            script.unmap()
            return script.probe_script, lambda _: ([*watch.complaints()], {})

        return self._try(CHAIN_TRIAL, path, prepare, during=watch.watching)

    def _try_all(self, base: BaseMapping) -> None:
        trials = [trial for trial in trials_on(base, self.plan) if self.plan.wants(trial.name)]
        if trials and self.plan.memory:
            self._look(base, _SHORT)
        for trial in trials:
            reason = trial.why_not(self.plan)
            self._try_paths(trial.name, reason, partial(self._try_trial, trial))
        for name, sweep in sweeps_on(base):
            if not self.plan.wants(name):
                continue
            reason = self._why_no_sweep(name, base)
            self._try_paths(name, reason, partial(self._try_sweep, name, sweep))

    def _try_paths(self, name: str, reason: str, attempt: Attempt) -> None:
        """Run a trial on each path, or record the reason for which it is skipped."""
        first: TrialResult | None = None
        for path in self.plan.paths:
            why_not = reason or self._needs_own_file(path) or self._given_up(path)
            if why_not:
                self._outcomes.append(TrialResult(trial=name, path=path, skipped=why_not))
                continue
            self._outcomes.append(attempt(path, first))
            first = first or self._outcomes[-1]

    def _needs_own_file(self, path: HookPath) -> str:
        """Return why a path cannot have the node as its lower file, or ""."""
        shape = path.shape
        if self.driver_node.needs_own_file and shape.entry_vm_file != shape.nodes[-1]:
            return "a file of sysfs must be the VMA's own file, which it is below stack-first only"
        return ""

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
        """Run a trial on a path. Before it accuses the driver of a change, look at the pages."""
        found, judged = self._try_once(trial, path, first)
        sharing = trial.base.sharing
        if not judged or not self.plan.memory or sharing in self._looked_long:
            return found
        self._looked_long.add(sharing)
        return self._try_once(trial, path, first)[0] if self._look(trial.base, _LONG) else found

    def _try_once(
        self, trial: Trial, path: HookPath, first: TrialResult | None
    ) -> tuple[TrialResult, list[str]]:
        """Run a trial on a path, and compare its facts with the first path's.

        Return the result, and those of its complaints that the observation alone has caused.
        """
        judged: list[str] = []

        def prepare(node: DriverNode) -> tuple[Script, Judge]:
            script, rules = trial.script(path, node)

            def judge(seen: Observation) -> Judged:
                facts = script.facts(seen)
                judged.extend(rules(seen))
                placed = self.plan.places and _asks_for_address(script.probe_script)
                if first is not None and first.facts and not placed:
                    judged.extend(_path_complaints(first, facts))
                return [*judged], facts

            return script.probe_script, judge

        return self._try(trial.name, path, prepare, unloads=trial.unloads), judged

    def _try_sweep(
        self, name: str, sweep: MakeSweep, path: HookPath, first: TrialResult | None
    ) -> TrialResult:
        """Run a fault injection trial on a path. Its facts are not compared."""

        def prepare(node: DriverNode) -> tuple[Script, Judge]:
            made = sweep(path, node)
            return made.script, partial(_swept, made.complaints)

        return self._try(name, path, prepare, during=_with_failures)

    def _try(
        self,
        name: str,
        path: HookPath,
        prepare: Prepare,
        *,
        unloads: bool = False,
        during: During = _as_it_is,
    ) -> TrialResult:
        """Run a script in a guest. Every error of the guest becomes a complaint.

        A session that breaks while the kernel is clean is not the driver's fault, unless it
        breaks in a second guest, too: memory of the guest's programs may be damaged silently.
        """
        run = partial(self._run_script, name, path, prepare, unloads=unloads, during=during)
        before = self.lab.users(self.arch, disks=False)
        try:
            found = run()
        except _UNCLEAR as error:
            note = f"{name} on {path}: trying once more after: {error.message}"
            self.lab.ctx.progress.note(note)
        else:
            return self._confirmed(found, before, run) if found.complaints else found
        return run(caught=(GuestError, *_UNCLEAR))

    def _confirmed(
        self, found: TrialResult, before: tuple[str, ...], run: Callable[[], TrialResult]
    ) -> TrialResult:
        """Run a trial again in a guest of its own if its guest was not. Return what counts."""
        if not before:
            return found
        self.lab.end_batches(self.arch)
        alone = run()
        self.lab.end_batches(self.arch)
        if alone.complaints:
            return alone
        how = f"only after {len(before)} trials in one guest, at last {before[-1]}"
        complaints = tuple(f"{how}: {text}" for text in found.complaints)
        return dataclasses.replace(found, complaints=complaints)

    def _run_script(
        self,
        name: str,
        path: HookPath,
        prepare: Prepare,
        *,
        unloads: bool,
        during: During,
        caught: tuple[type[TestbedError], ...] = (GuestError,),
    ) -> TrialResult:
        """Run a script in a guest. The errors of `caught` become complaints."""
        complaints: list[str] = []
        evidence: list[str] = []
        errors: list[TestbedError] = []
        facts: Mapping[str, str] = {}
        self._step.update(len(self._outcomes), note=f"{name} on {path}")
        with self.lab.guest(self.arch, disks=False, user=f"{name} on {path}") as guest:
            try:
                # A shared guest may have been damaged before: then these fail.
                self._loader.copy_modules(guest)
                guest.begin(f"{name} on {path}")
                script, judge = prepare(self._node_in(guest))
                guest.load(MODULE)
                self._loader.load(guest, unloads=unloads)
                before = self._counters(guest)
                with during(guest):
                    seen = guest.prober.run(script)
                complaints, facts = judge(seen)
                after = self._counters(guest, unloads=unloads)
                complaints += _counter_complaints(before, after)
                evidence = [seen.report()] if complaints else []
            except caught as error:
                errors.append(error)
            try:
                guest.finish()
            except caught as error:
                errors.append(error)
            broke = guest.damaged or any(isinstance(error, _BREAKS) for error in errors)
            complaints += [collapsed(_complaint(error)) for error in errors]
            evidence += _evidence(errors)
            guest.has_evidence = guest.has_evidence or bool(complaints)
        return TrialResult(
            trial=name,
            path=path,
            complaints=tuple(dict.fromkeys(complaints)),
            evidence="\n".join(evidence),
            facts=facts,
            broke=broke,
        )

    def _counters(self, guest: Guest, *, unloads: bool = False) -> dict[str, str]:
        """Read the counters of the plan. One may be gone if the trial has unloaded the driver."""
        found = {}
        for path in self.plan.counters:
            try:
                found[path] = guest.session.get(path).decode()
            except GuestFileError as error:
                if not (unloads and error.errno == errno.ENOENT):
                    raise
        return found


def _complaint(error: TestbedError) -> str:
    """Return an error's message. For a hang, add the place where the kernel hangs."""
    if isinstance(error, _UNCLEAR):
        return f"{error.message}, twice, in two guests"
    where = callers(error.evidence) if isinstance(error, GuestTimeout) else ""
    return f"{error.message}: {where}" if where else error.message


def _evidence(errors: Sequence[TestbedError]) -> list[str]:
    """Return the evidence of each error. A splat that a broken session has shown counts once."""
    first = {error.message: error.evidence for error in reversed(errors)}
    return [first.pop(error.message) for error in errors if first.get(error.message)]


def _swept(
    complaints: Callable[[Observation], Iterator[tuple[int, str]]], seen: Observation
) -> tuple[list[str], Mapping[str, str]]:
    return [f"when allocation {number} fails: {text}" for number, text in complaints(seen)], {}


def _asks_for_address(script: Script) -> bool:
    """Whether a script asks for an address, about which each path may ask another driver."""
    return any(" addr=" in line for line in script.lines)


def _path_complaints(first: TrialResult, facts: Mapping[str, str]) -> list[str]:
    """Complain about each fact that differs from the first path, about equal changes once."""
    groups = first_of_each(path_changes(first.facts, facts))
    complaints = [
        f"{each.where} is {each.new}, but {each.base} on {first.path}"
        for each, _ in groups[:_SHOWN]
    ]
    more = sum(others for _, others in groups) + len(groups[_SHOWN:])
    return [*complaints, f"{more} more facts differ from {first.path}"] if more else complaints


def _counter_complaints(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"{path} is {after[path].strip()}, was {text.strip()}"
        for path, text in before.items()
        if after.get(path, text) != text
    ]
