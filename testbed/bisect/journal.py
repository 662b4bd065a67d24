# SPDX-License-Identifier: GPL-2.0
"""The journal of a bisection: the state that an interrupted search resumes from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from testbed.bisect.symptom import FailureSignature, Presence, Symptom
from testbed.files import DAMAGED, make_folder, write_whole


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One commit that was tried."""

    commit: str
    title: str
    verdict: Presence
    reason: str  # one line
    evidence: str = ""
    kernel: str = ""  # release; empty if the kernel did not build
    fingerprint: str = ""  # equal for kernels that differ only in their names
    same_as: str = ""  # the commit with an equal kernel, whose verdict it shares
    shown: int = 0  # runs in which the symptom showed
    clean: int = 0  # runs in which it did not
    build_seconds: float = 0.0
    run_seconds: float = 0.0


@dataclass
class Journal:
    """The symptom and the steps of one search, in one file."""

    file: Path
    symptom: Symptom | None = None
    steps: list[JournalEntry] = field(default_factory=list)

    @classmethod
    def open(cls, file: Path) -> Journal:
        """Read a journal; an unreadable or missing file yields an empty one."""
        try:
            values = json.loads(file.read_text())
            steps = [_step(value) for value in values["steps"]]
            return cls(file, _symptom(values["symptom"]), steps)
        except DAMAGED:
            return cls(file)

    def find(self, commit: str) -> JournalEntry | None:
        return next((step for step in self.steps if step.commit == commit), None)

    def twin(self, fingerprint: str) -> JournalEntry | None:
        """Return a step whose kernel is equal and was run."""
        same = (step for step in self.steps if step.fingerprint == fingerprint)
        return next((step for step in same if fingerprint and not step.same_as), None)

    def add(self, step: JournalEntry) -> None:
        self.steps.append(step)
        self.write()

    def forget(self) -> None:
        """Delete the file, so that the next search starts anew."""
        self.file.unlink(missing_ok=True)

    def write(self) -> None:
        """Write the file atomically."""
        make_folder(self.file.parent, "state_dir")
        content = {
            "symptom": None if self.symptom is None else asdict(self.symptom),
            "steps": [asdict(step) for step in self.steps],
        }
        write_whole(self.file, json.dumps(content, indent=1) + "\n")


def chance_of_missing(steps: Iterable[JournalEntry], runs: int) -> float:
    """Return the probability that a kernel with the symptom shows it in none of `runs` runs.

    The rate at which such kernels show the symptom is unknown. With a uniform prior its
    distribution is Beta(shown + 1, clean + 1) over the runs so far; the result is the mean of
    (1 - rate)^runs.
    """
    bad = [step for step in steps if step.verdict is Presence.PRESENT and not step.same_as]
    shown = 1 + sum(step.shown for step in bad)
    clean = 1 + sum(step.clean for step in bad)
    return math.exp(_log_beta(shown, clean + runs) - _log_beta(shown, clean))


def confidence(steps: Iterable[JournalEntry]) -> float:
    """Return a lower bound of the probability that no kernel with the symptom passed by chance."""
    every = list(steps)
    absent = [step for step in every if step.verdict is Presence.ABSENT and not step.same_as]
    return math.prod(1 - chance_of_missing(every, step.clean) for step in absent)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _symptom(values: dict[str, Any] | None) -> Symptom | None:
    if values is None:
        return None
    return Symptom(
        tuple(FailureSignature(**signature) for signature in values["signatures"]),
        values["pattern"],
    )


def _step(values: dict[str, Any]) -> JournalEntry:
    return JournalEntry(**{**values, "verdict": Presence(values["verdict"])})
