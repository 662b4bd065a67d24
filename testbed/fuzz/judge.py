# SPDX-License-Identifier: GPL-2.0
"""The verdict on what was seen of a program: deviations, each with a title.

The contract's rules judge a program that its model predicts. The ledger, and what is true of every
mapping, judge each one. And each path is compared with its reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.errors import GuestTimeout, KernelSplat, TestbedError, UnbalancedLedger
from testbed.fuzz.exchange import Ran
from testbed.fuzz.faults import (
    a_failed_allocation_changes_nothing,
    call_was_disturbed,
    first_fault,
    may_be_killed,
)
from testbed.fuzz.program import ROOM, Program, may_warn
from testbed.guest.splat_patterns import SplatKind
from testbed.mmap import rules
from testbed.mmap.execution import Execution
from testbed.mmap.observation import named
from testbed.mmap.oracle import Disagreement, disagreements, reference_path
from testbed.mmap.path import HookPath
from testbed.mmap.prediction import action_extent
from testbed.mmap.rules import Rule, Violation

# What the model knows (testbed/mmap/prediction.py).
_PROTS = frozenset({"rw", "r", "rx", "rwx", "none"})
_FLAGS = frozenset({"shared", "private", "noreserve", "locked", "populate", "fixed"})
_FAR = 1 << 30  # pages
_LONG = 513  # pages

# For what is the same for any page size.
_PAGE = 4096

# How a kernel reports that a task or a processor hangs, if it does so before the testbed gives up.
_HANGS = (SplatKind.HUNG_TASK, SplatKind.SOFT_LOCKUP, SplatKind.HARD_LOCKUP, SplatKind.RCU_STALL)

# These count calls in the whole program: right while one mmap call alone runs a hook.
_OF_ONE_CALL = (rules.mapped_runs_once_with_the_final_mapping, rules.closes_balance)

# The numbers of events and pages in a canonical place.
NUMBERS = re.compile(r"\.\d+|\[\d+\]")

# A number, or a word that is one: an address, a register, the id of a process.
_NUMBER = re.compile(r"(?i)\b(0x[0-9a-f]+|[0-9a-f]{6,}|\d+)\b")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Deviation:
    """One thing that should not be. Those with equal titles are taken for one defect."""

    title: str
    path: HookPath | None  # None: one of the paths that ran
    headline: str
    where: str = ""  # a place in the canonical form, for a difference between two paths
    guarantees: tuple[int, ...] = field(default=())
    reference: HookPath | None = None  # the other path of a difference, which may be the wrong one

    @property
    def name(self) -> str:
        """The title as the name of a folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:80]


def deviations(ran: Ran, version: str) -> list[Deviation]:
    """Return all deviations of a program, the contract's rules first."""
    found: list[Deviation] = []
    for path, execution in ran.executions.items():
        found += [_of_rule(path, each) for each in _violations(ran.program, execution)]
    for path, execution in ran.executions.items():
        reference = reference_path(path, ran.executions) or path
        other = ran.executions.get(reference)
        if other is not None and other is not execution:
            differing = _differing(ran.program, execution, other, version)
            found += [_of_difference(path, reference, each) for each in differing]
    found += [
        _of_failure(path, error)
        for path, error in ran.failures.items()
        if not may_be_killed(ran.program, error)
    ]
    if ran.aftermath is not None and not _is_expected(ran.program, ran.aftermath):
        found.append(of_aftermath(ran))
    return found


def within_model(program: Program) -> bool:
    """Whether the model predicts everything about the program's mmap call."""
    call, plan, outer = program.call, program.plan, program.outer
    far = max(call.offset, plan.pgoff or 0, outer.pgoff or 0) >= _FAR
    known = call.prot in _PROTS and set(call.flags.split(",")) <= _FLAGS
    own_mmap = program.spare.endswith(("legacy", "custom"))
    override = (plan.error_override or "0").startswith(("0", "-E", "-1"))
    moved = plan.widen_end is not None or _misses_the_bad_page(program)
    return known and not far and not own_mmap and override and not moved and call.pages <= _LONG


def _misses_the_bad_page(program: Program) -> bool:
    """Whether the bad page is not among those that the action inserts."""
    extent = action_extent(program.scenario, _PAGE)
    bad = program.plan.bad_page
    return bad is not None and (extent is None or bad * _PAGE >= extent.size)


def _violations(program: Program, execution: Execution) -> Iterator[Violation]:
    if within_model(program) and not call_was_disturbed(execution):
        again = program.first_merge is not None
        for rule in rules.RULES:
            if not (again and rule in _OF_ONE_CALL):
                yield from rule(execution)
    else:
        yield from rules.ledger_is_balanced(execution)
    for own in _OF_EVERY_MAPPING:
        yield from own(execution)


def mapped_gets_the_file_of_its_hook(execution: Execution) -> Iterator[Violation]:
    """A driver's mapped() has to find its own data in the file that it gets."""
    if execution.scenario.plan.replace is not None:
        return
    events = execution.log(execution.steps.log)
    for hook, event in zip(named(events, "prepare"), named(events, "mapped"), strict=False):
        if hook.node("file") != event.node("file"):
            what = "file of mapped(), which is not the file of its hook,"
            yield Violation((49,), what, hook.node("file"), event.node("file"))


def untouched_memory_is_zero(execution: Execution) -> Iterator[Violation]:
    """Nothing appears in the anonymous memory around a mapping that nobody has put there."""
    scenario = execution.scenario
    if scenario.call.addr or any(f"={ROOM}" in line for line in scenario.after):
        return
    for fact in execution.seen.facts.values():
        if fact.op == "read" and _line(execution, fact.step).split()[1] == ROOM:
            other = [content for content in fact.contents if content != "zero"]
            if other and not fact.error:
                yield Violation((21,), "memory behind the mapping", "zero", other[0])


_OF_EVERY_MAPPING: tuple[Rule, ...] = (
    mapped_gets_the_file_of_its_hook,
    untouched_memory_is_zero,
    a_failed_allocation_changes_nothing,
)


def _line(execution: Execution, step: int) -> str:
    return execution.seen.script.splitlines()[step - 1]


def _differing(
    program: Program, execution: Execution, reference: Execution, version: str
) -> Iterator[Disagreement]:
    """Yield the differences up to the first step from which on the paths may differ."""
    steps, merge = execution.steps, program.first_merge
    last = len(execution.seen.script) if merge is None else steps.after.start + merge - steps.map
    last = min(last, *(first_fault(each) - steps.map for each in (execution, reference)))
    for each in disagreements(execution, reference, version):
        if int(each.where.split()[0]) < last:
            yield each


def _of_rule(path: HookPath, violation: Violation) -> Deviation:
    title = f"{violation.what}{_side(path)}"
    return Deviation(title, path, violation.headline, guarantees=violation.guarantees)


def _of_difference(path: HookPath, reference: HookPath, found: Disagreement) -> Deviation:
    # Neither the number of the step nor those of events and pages belong to the title.
    place = NUMBERS.sub("", found.where.partition(" ")[2])
    headline = f"{found.where} is {found.seen}, not {found.reference}"
    title = f"{place} differs{_side(path)}"
    return Deviation(title, path, headline, found.where, reference=reference)


def _side(path: HookPath) -> str:
    """What a title adds: a defect is rarely both in the layer and elsewhere."""
    return "" if path.shape.compat else " without the layer"


def _of_failure(path: HookPath, error: TestbedError) -> Deviation:
    return Deviation("killed program", path, error.message)


def of_aftermath(ran: Ran) -> Deviation:
    """Return the deviation of what followed a program."""
    assert ran.aftermath is not None
    message = ran.aftermath.message
    if isinstance(ran.aftermath, UnbalancedLedger):
        title = "ledger: " + " and ".join(dict.fromkeys(re.findall(r"(\w+) (?:is|has) ", message)))
    elif isinstance(ran.aftermath, GuestTimeout) or message.startswith(_HANGS):
        title = "hang"
    else:
        title = _BLANKS.sub(" ", _NUMBER.sub("N", message))
    title += f" on {ran.ways}" if ran.ways else ""
    only = next(iter(ran.executions)) if len(ran.executions) == 1 else None
    return Deviation(title, only, message)


def _is_expected(program: Program, error: TestbedError) -> bool:
    """Whether the kernel printed only the warnings with which it refuses this program's plan."""
    kinds = {word.split(":")[0] for word in error.message.split("; ")}
    return may_warn(program) and isinstance(error, KernelSplat) and kinds == {"warning"}
