# SPDX-License-Identifier: GPL-2.0
"""What is looked for: a failure that is recognised when it shows again. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from testbed.results.model import Case, Run, Status

# What differs from kernel to kernel, or from boot to boot, in one and the same failure.
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|\d+")

# The test of a case that stands for a kernel that could not be built.
NO_KERNEL = "the build"


class Presence(StrEnum):
    """What a kernel shows."""

    PRESENT = "present"  # the symptom
    ABSENT = "absent"  # the tests ran, and it did not show
    UNKNOWN = "cannot tell"  # no kernel, no boot, or another failure


@dataclass(frozen=True, order=True)
class FailureSignature:
    """One failure, without what changes from kernel to kernel."""

    test: str
    error: str  # its class
    text: str

    def __str__(self) -> str:
        return f"{self.test.rpartition('/')[2]}: {self.text}"


def signature_of(case: Case) -> FailureSignature:
    """The signature of a failure. Addresses and numbers differ, and how often it was said."""
    words = _NUMBER.sub("#", case.reason).split("; ")
    return FailureSignature(case.test, case.error, "; ".join(dict.fromkeys(words)))


@dataclass(frozen=True)
class Symptom:
    """What a kernel has to show: one of the signatures, or what a regular expression finds.

    The test of a signature has to fail in the same way again. A pattern is searched in all cases
    that did not end well, also those of a kernel that does not build or boot, and in recorded
    defects (XFAIL).
    """

    signatures: tuple[FailureSignature, ...] = ()
    pattern: str = ""

    def __str__(self) -> str:
        return f"/{self.pattern}/" if self.pattern else "\n".join(map(str, self.signatures))

    def concerns(self, case: Case) -> bool:
        """Whether the case can tell that the symptom is absent."""
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
    """What a run holds against its kernel, sorted."""
    return tuple(sorted({signature_of(case) for case in run.cases if case.status is Status.FAIL}))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one run, or several of the same kernel, say of the symptom."""

    verdict: Presence
    reason: str  # one line
    evidence: str = ""
    shown: int = 0  # runs in which it showed
    clean: int = 0  # runs in which it did not


def read(run: Run, symptom: Symptom) -> Reading:
    """What a run says. Only the symptom itself is held against the kernel."""
    shown = [case for case in run.cases if symptom.shown_by(case)]
    if shown:
        reason = f"{shown[0].name}: {shown[0].reason}"
        evidence = "\n\n".join(f"{case.test}\n{_evidence(case)}" for case in shown)
        return Reading(verdict=Presence.PRESENT, reason=reason, evidence=evidence, shown=1)
    asked = [case for case in run.cases if symptom.concerns(case)]
    if other := [case for case in asked if not _went_well(case)]:
        reason = f"another failure: {other[0].name}: {other[0].status} {other[0].reason}".rstrip()
        return Reading(verdict=Presence.UNKNOWN, reason=reason, evidence=_evidence(other[0]))
    missing = {signature.test for signature in symptom.signatures} - {
        case.test for case in asked if _ran(case)
    }
    if missing or not any(_ran(case) for case in asked):
        what = ", ".join(sorted(missing)) or "no test"
        return Reading(verdict=Presence.UNKNOWN, reason=f"did not run: {what}")
    count = sum(_ran(case) for case in asked)
    reason = "1 test passed" if count == 1 else f"{count} tests passed"
    return Reading(verdict=Presence.ABSENT, reason=reason, clean=1)


def unite(readings: Iterable[Reading]) -> Reading:
    """What several runs of one kernel say together: one that shows the symptom is enough."""
    every = list(readings)
    # The gravest first: present, cannot tell, absent.
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
    # The command that runs it again speaks of a tree that is at another commit by then.
    lines = (case.evidence or case.reason).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("rerun: ", "repro: ")))


def _ran(case: Case) -> bool:
    return case.status not in (Status.SKIP, Status.MISS)


def _went_well(case: Case) -> bool:
    """Whether nothing went wrong; a recorded defect that did not show is a failure of no call."""
    return case.status.as_expected or (case.status is Status.FAIL and not case.error)
