# SPDX-License-Identifier: GPL-2.0
"""Which unexpected results of a run get a page of their own, and how pages name them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from testbed.pages.site import FOLDER
from testbed.report.run import alike
from testbed.results.model import Case, Status
from testbed.suite.repro import test_slug

# A kernel that fails everything has thousands of unexpected results, most of them for one reason.
_PAGES = 300


@dataclass(frozen=True)
class Reason:
    """Unexpected results with one status and one reason."""

    cases: tuple[Case, ...]

    @property
    def first(self) -> Case:
        return self.cases[0]

    @property
    def status(self) -> Status:
        return self.first.status

    @property
    def text(self) -> str:
        return self.first.reason or "no reason is known"


class Failures:
    """The unexpected results of a run, by reason, those with most results first."""

    def __init__(self, cases: Iterable[Case]) -> None:
        groups = sorted(alike(cases), key=len, reverse=True)
        order = list(Status)
        groups.sort(key=lambda group: order.index(group[0].status))
        self.reasons = tuple(Reason(tuple(group)) for group in groups)

    @cached_property
    def shown(self) -> Sequence[Case]:
        """The cases with a page: the first of each reason, then others as far as there is room."""
        firsts = [reason.first for reason in self.reasons]
        others = [case for reason in self.reasons for case in reason.cases[1:]]
        return [*firsts, *others[: max(0, _PAGES - len(firsts))]]

    @cached_property
    def paths(self) -> dict[str, str]:
        """The page of each unexpected test: its own, or that of the first one with its reason."""
        own = {case.test: page_path(case.test) for case in self.shown}
        return {
            case.test: own.get(case.test) or own[reason.first.test]
            for reason in self.reasons
            for case in reason.cases
        }

    def reason_of(self, case: Case) -> Reason:
        return next(reason for reason in self.reasons if case in reason.cases)


def page_path(test: str) -> str:
    """Return the path of the page of a test. A digest makes it differ from that of any other."""
    digest = hashlib.sha256(test.encode()).hexdigest()[:8]
    return f"{FOLDER}/{test_slug(test)[:100]}-{digest}.html"
