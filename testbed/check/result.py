# SPDX-License-Identifier: GPL-2.0
"""The result of a check, as values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from testbed.check.allowed import Allowed, split_allowed
from testbed.mmap.plan import VM_MAYEXEC, VM_MTE_ALLOWED
from testbed.report.diff import ABSENT, FactChange, fact_changes
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS

_EXECUTED = re.compile(r"^(?P<step>\d+) map (?P<name>\w+) .* prot=\w*x.*:\.error$")
_STEP = re.compile(r"^(\d+) ")

# The mapping of a trial. Another one is shown by the next step, and ends with the one after it.
_MAPPING, _OTHER_CALL = "m", 3

# `n` is the second of two adjacent mappings.
_REFUSED = re.compile(r" map (\w+) .*:\.error$")
_SYNCED = re.compile(r"^\d+ msync ")

# Flags of a VMA that depend on the mapped file: VM_MAYEXEC, and arm64's VM_MTE_ALLOWED.
_FILE_VMFLAGS = frozenset({"me", "mt"})
_FILE_FLAGS = VM_MAYEXEC | VM_MTE_ALLOWED


class TrialStatus(StrEnum):
    """Whether the invariants of a trial held."""

    HOLDS = "holds"
    FAILS = "fails"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The result of one trial on one path."""

    trial: str
    path: str
    complaints: tuple[str, ...] = ()
    skipped: str = ""  # why it was not run
    evidence: str = ""  # for the complaints: the script with its facts, kernel messages
    facts: Mapping[str, str] = field(default_factory=dict)
    broke: bool = False  # the guest hung or died

    @property
    def status(self) -> TrialStatus:
        if self.skipped:
            return TrialStatus.SKIPPED
        return TrialStatus.FAILS if self.complaints else TrialStatus.HOLDS


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The result for one driver on one architecture."""

    arch: str
    kernel: str  # the guest's `uname -r`
    driver: str  # as the user named it
    node: str
    base_mappings: tuple[str, ...]  # the mappings that all trials started from
    outcomes: tuple[TrialResult, ...]
    refused: tuple[str, ...] = ()  # what was tried for a base mapping, and what was refused
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> list[TrialResult]:
        return [outcome for outcome in self.outcomes if outcome.status is TrialStatus.FAILS]


@dataclass(frozen=True)
class Difference:
    """A trial on one path whose results differ between two versions of a driver."""

    trial: str
    path: str
    changes: tuple[FactChange, ...]


@dataclass(frozen=True)
class AllowedDifference:
    """A change that is no difference, and the reason."""

    trial: str
    path: str
    change: FactChange
    reason: str
    source: str  # the function of the kernel that causes it


@dataclass(frozen=True)
class Conversion:
    """The results for two versions of a driver on one architecture."""

    before: Checked
    after: Checked
    changes_kind: bool = (
        False  # the hook is converted, or goes back, by what the kernels' text says
    )

    @property
    def differences(self) -> list[Difference]:
        """Every difference that userspace can see, without those that a conversion may bring."""
        found = (
            Difference(*key, tuple(self._split(*key, changes)[0]))
            for key, changes in self._changes().items()
        )
        return [each for each in found if each.changes]

    @property
    def allowed(self) -> list[AllowedDifference]:
        """The differences that a conversion may bring."""
        return [
            AllowedDifference(*key, change, kind.reason, kind.source)
            for key, changes in self._changes().items()
            for kind, change in self._split(*key, changes)[1]
        ]

    def _changes(self) -> dict[tuple[str, str], list[FactChange]]:
        """Return what differs in each trial on each path."""
        old = {(each.trial, each.path): each for each in self.before.outcomes}
        new = {(each.trial, each.path): each for each in self.after.outcomes}
        return {key: [*_changes(old.get(key), new.get(key))] for key in dict.fromkeys((*old, *new))}

    def _split(
        self, trial: str, path: str, changes: list[FactChange]
    ) -> tuple[list[FactChange], list[tuple[Allowed, FactChange]]]:
        return split_allowed(trial, path, changes) if self.changes_kind else (changes, [])


def path_changes(first: Mapping[str, str], facts: Mapping[str, str]) -> list[FactChange]:
    """Return the facts in which a path differs from the first one.

    Facts that depend on the mapped file and not on the hook are left out. Its mount decides whether
    it may be executed (mm/mmap.c, do_mmap()); msync(2) calls its fsync() (mm/msync.c). A mapping
    that merges with its neighbour does not reach the hook, which may then not refuse it. It cannot
    merge if the hook's file replaces the mapped one (mm/vma.c, __mmap_region()).
    """
    refusals = (_EXECUTED.search(where) for where, value in first.items() if value == "EPERM")
    executed = [match for match in refusals if match]
    if any(match["name"] == _MAPPING for match in executed):
        return []
    left_out = {int(match["step"]) + later for match in executed for later in range(_OTHER_CALL)}
    changes = [
        each
        for each in fact_changes(first, facts)
        if not _depends_on_file(each) and _step(each) not in left_out
    ]
    refused = {match[1] for each in changes if (match := _REFUSED.search(each.where))}
    return [] if refused == {"n"} else changes


def _step(change: FactChange) -> int:
    match = _STEP.match(change.where)
    return int(match[1]) if match else 0


def _depends_on_file(change: FactChange) -> bool:
    if _not_compared(change):
        return True
    if ABSENT in (change.base, change.new):
        return _SYNCED.search(change.where) is not None
    if change.where.endswith(".vmflags"):
        return {*change.base.split()} ^ {*change.new.split()} <= _FILE_VMFLAGS
    if change.where.endswith(":.flags"):
        return not (int(change.base, 0) ^ int(change.new, 0)) & ~_FILE_FLAGS
    return _SYNCED.search(change.where) is not None


def exit_status(found: Iterable[Checked | Conversion]) -> int:
    """Return 0 if everything holds and nothing differs, 1 otherwise.

    Of two versions only the newer one must hold.
    """
    for each in found:
        checked = each.after if isinstance(each, Conversion) else each
        if checked.failed or (isinstance(each, Conversion) and each.differences):
            return EXIT_FINDINGS
    return EXIT_EXPECTED


def _changes(before: TrialResult | None, after: TrialResult | None) -> Iterator[FactChange]:
    old = before or TrialResult(trial="", path="", skipped="not run")
    new = after or TrialResult(trial="", path="", skipped="not run")
    if (old.status, old.complaints) != (new.status, new.complaints):
        yield FactChange("verdict", _judged(old), _judged(new))
    if TrialStatus.SKIPPED not in (old.status, new.status):
        changes = fact_changes(old.facts, new.facts)
        yield from (change for change in changes if not _not_compared(change))


def _not_compared(change: FactChange) -> bool:
    """Whether one side left out the content of a page, which it found to be unsteady."""
    return change.where.endswith(".content") and ABSENT in (change.base, change.new)


def _judged(outcome: TrialResult) -> str:
    reason = outcome.skipped or "; ".join(outcome.complaints)
    return f"{outcome.status}: {reason}" if reason else outcome.status
