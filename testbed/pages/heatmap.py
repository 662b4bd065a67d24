# SPDX-License-Identifier: GPL-2.0
"""The page of the kernel's promises: each on each path and architecture, by its worst result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.mmap.guarantees import GUARANTEES, Guarantee
from testbed.mmap.path import HookPath
from testbed.pages.runsite import RunSite
from testbed.pages.site import FOLDER, Page
from testbed.results.model import Case, Status, worst

PATH = f"{FOLDER}/guarantees.html"

# The column of tests without a path.
_ELSEWHERE = "elsewhere"
COLUMNS = (*map(str, HookPath), _ELSEWHERE)


@dataclass(frozen=True)
class Heat:
    """One promise on one path and architecture."""

    kind: str  # a status in small letters, `none` where a test is missing, `na` where none can be
    title: str
    link: str = ""  # to the first unexpected result


@dataclass(frozen=True)
class Line:
    """One promise: a cell for each path, and in it one for each architecture."""

    guarantee: Guarantee
    cells: tuple[tuple[Heat, ...], ...]

    @property
    def worst(self) -> str:
        """The kind by which the page filters."""
        kinds = {heat.kind for cell in self.cells for heat in cell}
        bad = [status.lower() for status in Status if not status.as_expected]
        return next((kind for kind in (*bad, "xfail", "none") if kind in kinds), "good")


def pages(site: RunSite) -> Iterator[Page]:
    cases = [case for case in site.run.cases if case.guarantees]
    arches = sorted({case.arch for case in cases})
    if not arches:
        return
    lines = table(cases, arches, site.failures.paths)
    values = {"lines": lines, "arches": arches, "columns": COLUMNS}
    yield Page(PATH, "guarantees.html", "Guarantees", values)


def table(cases: Sequence[Case], arches: Sequence[str], paths: dict[str, str]) -> list[Line]:
    """Return a line for each promise. `paths` are the pages of unexpected tests."""
    by_place: dict[tuple[int, str, str], list[Case]] = {}
    for case in cases:
        for number in case.guarantees if case.status is not Status.SKIP else ():
            place = number, case.path or _ELSEWHERE, case.arch
            by_place.setdefault(place, []).append(case)
    return [
        Line(
            each,
            tuple(
                tuple(
                    _heat(each, column, by_place.get((each.number, column, arch), []), arch, paths)
                    for arch in arches
                )
                for column in COLUMNS
            ),
        )
        for each in GUARANTEES
    ]


def _heat(
    guarantee: Guarantee, column: str, cases: list[Case], arch: str, paths: dict[str, str]
) -> Heat:
    if cases:
        where = f"{guarantee.number} on {column}, {arch}"
        counts = Counter(case.status for case in cases)
        listed = ", ".join(f"{counts[each]} {each.lower()}" for each in Status if counts[each])
        status = worst(counts)
        first = next((paths[case.test] for case in cases if case.test in paths), "")
        return Heat(status.lower(), f"{where}: {listed}", first)
    # Without an architecture: the page shows what both have in common once.
    where = f"{guarantee.number} on {column}"
    if reason := _why_none(guarantee, column):
        return Heat("na", f"{where}: {reason}")
    if column == _ELSEWHERE:
        return Heat("na", f"{where}: no test in this run")
    return Heat("none", f"{where}: not covered")


def _why_none(guarantee: Guarantee, column: str) -> str:
    if guarantee.why_not or column == _ELSEWHERE:
        return guarantee.why_not
    return guarantee.not_on.get(HookPath(column), "")
