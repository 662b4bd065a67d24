# SPDX-License-Identifier: GPL-2.0
"""The case that the last report of a test carries, from a worker process to the main process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from testbed.results.model import Attempt, Case, TestFacts
from testbed.results.store import case_from

# The attribute of the report. pytest-xdist transfers attributes that are JSON.
_NAME = "testbed_case"


@dataclass(frozen=True)
class Carried:
    """The case of a test, and the facts that each of its scripts saw."""

    case: Case
    facts: TestFacts

    def with_note(self, note: str) -> Carried:
        """Return the same with a note above the evidence."""
        case = dataclasses.replace(self.case, evidence=f"{note}\n{self.case.evidence}".strip())
        return dataclasses.replace(self, case=case)

    def with_tries(self, tries: tuple[Attempt, ...]) -> Carried:
        """Return the same with all tries of the test."""
        return dataclasses.replace(self, case=dataclasses.replace(self.case, attempts=tries))


def attach(report: pytest.TestReport, content: Carried) -> None:
    """Let a report carry a case. A case that it carries already is replaced."""
    values = {"case": dataclasses.asdict(content.case), "facts": content.facts}
    setattr(report, _NAME, json.dumps(values))


def detach(report: pytest.TestReport) -> Carried | None:
    """Remove the case that a report carries, and return it: pytest keeps all reports."""
    found = _read(report)
    if found is not None:
        delattr(report, _NAME)
    return found


def carried(reports: Sequence[pytest.TestReport]) -> Carried:
    """Return the case that the reports of a test carry. There must be one."""
    found = [content for report in reports if (content := _read(report)) is not None]
    return found[-1]


def carry(reports: list[pytest.TestReport], content: Carried) -> list[pytest.TestReport]:
    """Let the reports of a test carry another case. Return them.

    A failure of the case is a failure for pytest too, with the reason of the case.
    """
    attach(reports[-1], content)
    if not content.case.status.as_expected:
        main = next((each for each in reports if each.outcome == "failed"), reports[-1])
        main.outcome = "failed"
        main.longrepr = f"{content.case.reason}\n{content.case.evidence}"
    return reports


def _read(report: pytest.TestReport) -> Carried | None:
    text = getattr(report, _NAME, None)
    if text is None:
        return None
    values = json.loads(text)
    return Carried(case_from(values["case"]), values["facts"])
