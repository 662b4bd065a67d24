# SPDX-License-Identifier: GPL-2.0
"""The symptom of a search: a failure, recognised when it shows again. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from testbed.results.model import Case, Run, Status
from testbed.results.reason import complaints_of

# The test name of a case that stands for a kernel that did not build.
NO_KERNEL = "the build"


class Presence(StrEnum):
    """Whether a kernel shows the symptom."""

    PRESENT = "present"
    ABSENT = "absent"  # the tests ran, and the symptom did not show
    UNKNOWN = "untestable"  # no kernel, no boot, or another failure


@dataclass(frozen=True, order=True)
class FailureSignature:
    """One failure, without the parts that differ between kernels."""

    test: str
    error: str  # class of the exception
    text: str

    def __str__(self) -> str:
        return f"{self.test.rpartition('/')[2]}: {self.text}"


def signature_of(case: Case) -> FailureSignature:
    """Return the signature of a failure, without numbers, addresses and repeated phrases."""
    complaints = dict.fromkeys(complaints_of(case.reason))
    return FailureSignature(case.test, case.error, "; ".join(complaints))


@dataclass(frozen=True)
class Symptom:
    """A set of failure signatures, or a regular expression.

    A kernel shows a signature if the same test fails in the same way. A pattern is searched in all
    cases with an unexpected status, including those of a kernel that does not build or boot, and
    in recorded defects (XFAIL).
    """

    signatures: tuple[FailureSignature, ...] = ()
    pattern: str = ""

    def __str__(self) -> str:
        return f"/{self.pattern}/" if self.pattern else "\n".join(map(str, self.signatures))

    def concerns(self, case: Case) -> bool:
        """Whether the case can show that the symptom is absent."""
        return not self.signatures or case.test in {
            NO_KERNEL,
            *(signature.test for signature in self.signatures),
        }

    def shown_by(self, case: Case) -> bool:
        if self.pattern:
            bad = not case.status.as_expected or case.status is Status.XFAIL
            return bad and re.search(self.pattern, _text(case)) is not None
        return signature_of(case) in self.signatures and case.status is Status.FAIL


def failures(run: Run) -> tuple[FailureSignature, ...]:
    """Return the signatures of all failures (FAIL) of a run, sorted."""
    return tuple(sorted({signature_of(case) for case in run.cases if case.status is Status.FAIL}))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The verdict of one run, or of several runs of one kernel, on the symptom."""

    verdict: Presence
    reason: str  # one line
    evidence: str = ""
    shown: int = 0  # runs that showed the symptom
    clean: int = 0  # runs that did not


def read(run: Run, symptom: Symptom) -> Reading:
    """Return the verdict of one run. Only the symptom itself makes a kernel PRESENT."""
    shown = [case for case in run.cases if symptom.shown_by(case)]
    if shown:
        reason = f"{shown[0].name}: {shown[0].reason}"
        evidence = "\n\n".join(f"{case.test}\n{_evidence(case)}" for case in shown)
        return Reading(verdict=Presence.PRESENT, reason=reason, evidence=evidence, shown=1)
    relevant = [case for case in run.cases if symptom.concerns(case)]
    if other := [case for case in relevant if not _went_well(case)]:
        reason = f"another failure: {other[0].name}: {other[0].status} {other[0].reason}".rstrip()
        return Reading(verdict=Presence.UNKNOWN, reason=reason, evidence=_evidence(other[0]))
    missing = {signature.test for signature in symptom.signatures} - {
        case.test for case in relevant if _ran(case)
    }
    if missing or not any(_ran(case) for case in relevant):
        reason = f"did not run: {', '.join(sorted(missing))}" if missing else "no test ran"
        return Reading(verdict=Presence.UNKNOWN, reason=reason)
    count = sum(_ran(case) for case in relevant)
    reason = "1 test passed" if count == 1 else f"{count} tests passed"
    return Reading(verdict=Presence.ABSENT, reason=reason, clean=1)


def unite(readings: Iterable[Reading]) -> Reading:
    """Combine the verdicts of several runs of one kernel: one run with the symptom is enough."""
    every = list(readings)
    # Worst first.
    order = (Presence.PRESENT, Presence.UNKNOWN, Presence.ABSENT)
    worst = min(every, key=lambda reading: order.index(reading.verdict))
    return Reading(
        verdict=worst.verdict,
        reason=worst.reason,
        evidence=worst.evidence,
        shown=sum(reading.shown for reading in every),
        clean=sum(reading.clean for reading in every),
    )


def _text(case: Case) -> str:
    return f"{case.status} {case.error}: {case.reason}\n{case.evidence}"


def _evidence(case: Case) -> str:
    # Drop the rerun command: later the tree is at another commit.
    lines = (case.evidence or case.reason).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("rerun: ", "repro: ")))


def _ran(case: Case) -> bool:
    return case.status not in (Status.SKIP, Status.MISS)


def _went_well(case: Case) -> bool:
    """Whether a case is as expected, or a recorded defect did not show (FAIL without an error)."""
    return case.status.as_expected or (case.status is Status.FAIL and not case.error)
