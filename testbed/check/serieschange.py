# SPDX-License-Identifier: GPL-2.0
"""The verdict on a change of a kernel: for each hook that it touches, what userspace sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from testbed.check.chain import TRIAL
from testbed.check.result import Checked, Conversion, TrialResult, TrialStatus
from testbed.check.subjects import Subject
from testbed.inventory.findings import Finding, Grade, findings
from testbed.inventory.inventory import Inventory
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS

# No touched hook differs, but one of them was not reached.
EXIT_UNREACHED = 3


class Verdict(StrEnum):
    """What a hook shows on both kernels."""

    SAME = "same"
    DIFFERENT = "different"
    UNREACHED = "not reached"


@dataclass(frozen=True, kw_only=True)
class SubjectResult:
    """The verdict on one subject on one architecture."""

    subject: Subject
    arch: str
    verdict: Verdict
    why: str = ""  # of a subject that was not reached
    compared: int = 0  # trials on all paths
    chain_checked: bool = False  # the guest's kernel showed that the hook runs


@dataclass(frozen=True, kw_only=True)
class SeriesChange:
    """What a series changes, or one kernel against another."""

    title: str
    arches: tuple[str, ...]
    subjects: tuple[Subject, ...]
    findings: tuple[Finding, ...] = ()  # of the later kernel's text alone
    conversions: Mapping[tuple[str, str], Conversion] = field(default_factory=dict)
    # Recipes, or `RECIPE on ARCH`, that could not be checked, and why.
    left_out: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def results(self) -> list[SubjectResult]:
        """The verdicts on each subject in turn, for all architectures."""
        return [self._result(subject, arch) for subject in self.subjects for arch in self.arches]

    @property
    def exit_status(self) -> int:
        """Return 0 if every touched hook was reached and is the same, 1 or 3 otherwise."""
        verdicts = {each.verdict for each in self.results}
        if Verdict.DIFFERENT in verdicts or any(
            finding.grade is Grade.ERROR for finding in self.findings
        ):
            return EXIT_FINDINGS
        return EXIT_UNREACHED if Verdict.UNREACHED in verdicts else EXIT_EXPECTED

    def _result(self, subject: Subject, arch: str) -> SubjectResult:
        found = [
            conversion
            for recipe in subject.recipes
            if (conversion := self.conversions.get((recipe.name, arch))) is not None
        ]
        reached = [each for each in found if not why_unreached(each)]
        if any(map(differs, reached)):
            verdict, why = Verdict.DIFFERENT, ""
        elif reached:
            verdict, why = Verdict.SAME, ""
        else:
            verdict, why = Verdict.UNREACHED, self._why(subject, arch, found)
        return SubjectResult(
            subject=subject,
            arch=arch,
            verdict=verdict,
            why=why,
            compared=sum(compared(each) for each in reached),
            chain_checked=bool(reached) and all(map(_chain_held, reached)),
        )

    def _why(self, subject: Subject, arch: str, found: Sequence[Conversion]) -> str:
        if found:
            return why_unreached(found[0])
        names = (name for each in subject.recipes for name in (f"{each} on {arch}", each.name))
        return next(filter(None, map(self.left_out.get, names)), subject.why_not)


def new_findings(before: Inventory, after: Inventory) -> tuple[Finding, ...]:
    """Return the findings about a kernel's text that the earlier kernel does not have."""
    known = {(each.rule, each.grade, each.text) for each in findings(before)}
    return tuple(
        each for each in findings(after) if (each.rule, each.grade, each.text) not in known
    )


def compared(found: Conversion) -> int:
    """Return the number of trials that ran on both kernels."""
    old = {(each.trial, each.path) for each in found.before.outcomes if not each.skipped}
    return sum((each.trial, each.path) in old for each in found.after.outcomes if not each.skipped)


def differs(found: Conversion) -> bool:
    """Whether userspace sees a difference, other than by which functions the kernel runs."""
    return any(each.trial != TRIAL for each in found.differences)


def why_unreached(found: Conversion) -> str:
    """Return why the trials say nothing about the hook, or "". A difference says that they do."""
    if differs(found):
        return ""
    for side in (found.before, found.after):
        if complaint := _chain_complaint(side):
            return f"{side.driver}: {complaint}"
    if not found.before.base_mappings and not found.after.base_mappings:
        return f"nothing can be mapped on either kernel: {_first_complaint(found.before)}"
    return ""


def _chain_complaint(side: Checked) -> str:
    return next((each.complaints[0] for each in _chains(side) if each.complaints), "")


def _chain_held(found: Conversion) -> bool:
    return all(
        any(each.status is TrialStatus.HOLDS for each in _chains(side))
        for side in (found.before, found.after)
    )


def _chains(side: Checked) -> Iterator[TrialResult]:
    return (each for each in side.outcomes if each.trial == TRIAL)


def _first_complaint(side: Checked) -> str:
    return next((text for each in side.failed for text in each.complaints), "no trial ran")
