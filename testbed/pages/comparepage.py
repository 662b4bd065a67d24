# SPDX-License-Identifier: GPL-2.0
"""The pages of a comparison: every difference, with both observations beside each other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.pages.runpages import write_run_site
from testbed.pages.site import INDEX, Page, write_pages
from testbed.pages.unexpected import Failures
from testbed.report.comparison import exit_status, grouped, places, times
from testbed.report.diff import Change, Comparison, Kind
from testbed.results.model import EXIT_INFRA, row_of

_ABOUT = {
    Kind.BROKEN: "good on the base, bad on the new side",
    Kind.OTHERWISE: "bad on both sides, in another way",
    Kind.FIXED: "bad on the base, good on the new side",
    Kind.GONE: "ran on the base only",
    Kind.NEW: "ran on the new side only",
    Kind.FACTS: "good on both sides, and the program saw other facts",
}

_FACTS = 40  # of a group; compare.json has all


@dataclass(frozen=True)
class Group:
    """Changes of one test function with equal results."""

    changes: tuple[Change, ...]
    link: str  # to the failure on the new side, if it has a page

    @property
    def first(self) -> Change:
        return self.changes[0]

    @property
    def places(self) -> str:
        return places(self.changes)


@dataclass(frozen=True)
class CompareSite:
    """A comparison whose pages are written, with the folders of both runs."""

    folder: Path
    comparison: Comparison
    runs: Mapping[str, Path] = field(default_factory=dict)  # `base` and `new`

    def links(self) -> dict[str, str]:
        """Return the pages of failures on the new side, by test."""
        if "new" not in self.runs:
            return {}
        paths = Failures(self.comparison.new.run.cases).paths
        own = os.path.relpath(self.runs["new"], self.folder)
        return {test: f"{own}/{path}" for test, path in paths.items()}


def write_compare_site(folder: Path, comparison: Comparison) -> Path:
    """Write the pages of a comparison into its folder, and of its runs. Return the first one.

    Raises:
        InfraError: the host cannot write, for example because the disk is full.
    """
    runs = {}
    for title, side in (("base", comparison.base), ("new", comparison.new)):
        run = folder / title / side.run.name
        if run.is_dir():  # else it is the run of another day, which has its own page
            write_run_site(run, side.run)
            runs[title] = run
    write_pages(folder, pages(CompareSite(folder, comparison, runs)))
    return folder / INDEX


def pages(site: CompareSite) -> Iterator[Page]:
    found = site.comparison
    links = site.links()
    values = {
        "comparison": found,
        "headline": headline(found),
        "todo": list(todo(found)),
        "same": not found.changes and exit_status(found) != EXIT_INFRA,
        "sides": [
            (title, side, _index(site, title))
            for title, side in (("base", found.base), ("new", found.new))
        ],
        "both": len(set(found.base.cases) & set(found.new.cases)),
        "table": _table(found.changes),
        "arches": sorted({change.arch for change in found.changes}),
        "kinds": [
            (kind, _ABOUT[kind], _groups(found.of(kind), links)) for kind in Kind if found.of(kind)
        ],
        "limit": _FACTS,
        "times": times(found),
    }
    yield Page(INDEX, "compare.html", f"{found.base.name} | {found.new.name}", values)


def headline(found: Comparison) -> str:
    """Return one line that says whether the sides differ."""
    if exit_status(found) == EXIT_INFRA:
        return "a side lacks results"
    counts = Counter(change.kind for change in found.changes)
    listed = ", ".join(f"{counts[kind]} {kind}" for kind in Kind if counts[kind])
    return listed or "no differences"


def todo(found: Comparison) -> Iterator[str]:
    """Yield what a person should do, the most urgent first."""
    if exit_status(found) == EXIT_INFRA:
        yield "The host or the testbed kept tests from running: run the comparison again."
    elif found.of(Kind.BROKEN):
        yield "Tests that were good on the base fail on the new side."
    elif found.changes:
        yield "No test broke. Each difference is visible to a program: is it meant?"
    else:
        yield "There is nothing to do: no program can see a difference."


def _index(site: CompareSite, title: str) -> str:
    run = site.runs.get(title)
    return os.path.relpath(run / INDEX, site.folder) if run is not None else ""


def _groups(changes: Iterable[Change], links: Mapping[str, str]) -> list[Group]:
    return [Group(tuple(each), links.get(each[0].test, "")) for each in grouped(changes)]


def _table(changes: Iterable[Change]) -> dict[str, dict[str, Counter[Kind]]]:
    """Return the number of changes by row, architecture and kind."""
    table: dict[str, dict[str, Counter[Kind]]] = {}
    for each in changes:
        row = table.setdefault(row_of(each.test, each.path), {})
        row.setdefault(each.arch, Counter())[each.kind] += 1
    return table
