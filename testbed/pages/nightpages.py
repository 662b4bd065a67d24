# SPDX-License-Identifier: GPL-2.0
"""The pages of a night. A new page is one more entry of NIGHT_PAGES."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.history.records import BAD, GOOD, Class, Finding, Lane, Outcome, Square
from testbed.nightly.alike import alike
from testbed.nightly.cell import RUN_FOLDER
from testbed.nightly.night import Night, NightCell
from testbed.nightly.table import State
from testbed.pages import burnpage
from testbed.pages.nightsite import NightSite
from testbed.pages.runpages import write_run_site
from testbed.pages.site import FOLDER, INDEX, Link, Page, write_pages
from testbed.pages.unexpected import Failures, page_path
from testbed.results.model import Status

FLAKY = f"{FOLDER}/flaky.html"

# The rows of one class on the first page, and the tests in a row; pages of runs have all.
_ROWS = 100
_TESTS = 200

# In pixels.
_TREND_WIDTH, _TREND_HEIGHT = 155, 26

# What a class means, and how its badge looks.
_CLASSES = {
    Class.NEW: ("bad tonight, and good before", "bad"),
    Class.OTHERWISE: ("bad as before, in another way", "bad"),
    Class.CHANGED: ("good, with other facts than before", "open"),
    Class.STILL: ("bad as before", "open"),
    Class.FLAKY: ("good and bad by turns", "open"),
    Class.GONE: ("ran on the night before", "open"),
    Class.FIXED: ("good, and bad before", "info"),
    Class.INFRA: ("the host kept them from running", "open"),
}


@dataclass(frozen=True)
class NightKind:
    """A kind of pages of a night; one with a link stands in the navigation, if it has a page."""

    pages: Callable[[NightSite], Iterable[Page]]
    link: Link | None = None


@dataclass(frozen=True)
class Row:
    """One finding, as a row of a table, with others that are alike."""

    finding: Finding
    strip: tuple[Square, ...]
    test_page: str  # empty: it has none
    failure_page: str  # of tonight's result; empty: it has none
    others: tuple[Row, ...] = ()

    @property
    def why(self) -> str:
        return self.finding.failure.text if self.finding.failure else ""

    @property
    def size(self) -> int:
        return 1 + len(self.others)

    @property
    def lanes(self) -> dict[Lane, int]:
        """The number of findings of each lane."""
        return Counter(row.finding.lane for row in (self, *self.others))

    @property
    def words(self) -> str:
        """What the filter of the page looks at."""
        rows = (self, *self.others[:_TESTS])
        tests = (f"{row.finding.test} {row.finding.lane.key}" for row in rows)
        return " ".join([self.finding.kind, self.why, *tests])

    @property
    def flips(self) -> int:
        """How often the outcome changed from square to square."""
        sides = [square_kind(square) for square in self.strip]
        sides = [side for side in sides if side in ("bad", "good")]
        return sum(one != other for one, other in itertools.pairwise(sides))


def write_night_site(site: NightSite) -> Path:
    """Write the pages of a night, and of the runs of its cells. Return the first one.

    Raises:
        InfraError: the host cannot write, for example because the disk is full.
    """
    for folder, run in site.runs.items():
        write_run_site(folder, run)
    pages = [page for kind in NIGHT_PAGES for page in kind.pages(site)]
    paths = {page.path for page in pages}
    links = [kind.link for kind in NIGHT_PAGES if kind.link and kind.link.path in paths]
    write_pages(site.night.folder, pages, links)
    return site.night.folder / INDEX


def index(site: NightSite) -> Iterator[Page]:
    night, title = site.night, headline(site)
    rows = _rows(site)
    values = {
        "night": night,
        "good": night.exit_status == 0,
        "headline": title,
        "todo": list(todo(site)),
        "classes": [
            (kind, about, look, _joined(rows.get(kind, []), night))
            for kind, (about, look) in _CLASSES.items()
        ],
        "counts": {kind: len(rows.get(kind, [])) for kind in _CLASSES},
        "limit": _ROWS,
        "tests": _TESTS,
        "lanes": site.lanes,
        "statuses": list(Status),
        "trend": trend_points,
        "trend_size": (_TREND_WIDTH, _TREND_HEIGHT),
        "square": square_kind,
        "cell_pages": {cell: _cell_page(site, folder) for cell, folder in site.folders.items()},
        "without": [each for each in night.cells if each.state in (State.FAILED, State.LEFT)],
        "states": _states(night.cells),
    }
    yield Page(INDEX, "night.html", f"{night.matrix} {night.name}: {title}", values)


def flaky(site: NightSite) -> Iterator[Page]:
    rows = _rows(site).get(Class.FLAKY, [])
    rows.sort(key=lambda row: row.flips, reverse=True)
    if rows:
        values = {"rows": rows, "square": square_kind}
        yield Page(FLAKY, "flaky.html", f"{len(rows)} flaky tests", values)


def tests(site: NightSite) -> Iterator[Page]:
    for test, lanes in site.pasts.items():
        values = {
            "test": test,
            "lanes": {lane: list(reversed(past)) for lane, past in lanes.items()},
            "outcome": outcome_kind,
            "findings": [each for each in site.night.findings if each.test == test],
            "facts": site.night.facts_of,
        }
        yield Page(_test_page(test), "test.html", test.rpartition("::")[2], values)


NIGHT_PAGES = (
    NightKind(index, Link(INDEX, "Night")),
    NightKind(flaky, Link(FLAKY, "Flaky")),
    NightKind(tests),
    NightKind(burnpage.night_pages, Link(burnpage.NIGHT_PATH, "Hooks")),
)


def headline(site: NightSite) -> str:
    """Return one line that says whether there is something to do."""
    new, otherwise = (len(site.of_class(kind)) for kind in (Class.NEW, Class.OTHERWISE))
    listed = [f"{new} new {'failure' if new == 1 else 'failures'}"] if new else []
    listed += [f"{otherwise} in another way than before"] if otherwise else []
    if listed:
        bad = site.night.of_class(Class.NEW, Class.OTHERWISE)
        reasons = len(alike(bad, site.night))
        why = f", for {reasons} {'reason' if reasons == 1 else 'reasons'}"
        return " and ".join(listed) + (why if len(bad) > 1 else "")
    if site.night.exit_status:
        return "some cells have no result"
    return "nothing new"


def todo(site: NightSite) -> Iterator[str]:
    """Yield what a person should do, the most urgent first."""
    night = site.night
    if site.of_class(Class.NEW):
        yield "Tests fail that were good on the night before. Each row leads to the failure."
    if site.of_class(Class.OTHERWISE):
        yield "Tests fail in another way than before."
    if night.trouble:
        yield f"The classes of this night are not known: {night.trouble}"
    if night.of_state(State.FAILED):
        yield "Cells have no result: the table shows the reasons."
    if site.of_class(Class.CHANGED):
        yield "Tests pass and see other facts: accept them (`testbed history accept`) or look."
    if night.exit_status == 0 and not site.of_class(Class.CHANGED):
        yield "There is nothing to do."


def trend_points(trend: Iterable[int]) -> str:
    """Return the points of a line of an SVG: the newest night is at the right end."""
    values = list(trend)
    most = max([*values, 1])
    step = _TREND_WIDTH / max(len(values) - 1, 1)
    return " ".join(
        f"{number * step:.1f},{_TREND_HEIGHT - 2 - value / most * (_TREND_HEIGHT - 4):.1f}"
        for number, value in enumerate(values)
    )


def square_kind(square: Square) -> str:
    """Return the look of a square: grey did not run, amber had both outcomes."""
    return "both" if square.both else _kind(square.status)


def outcome_kind(outcome: Outcome) -> str:
    """Return the look of an outcome, as that of a square."""
    return "both" if outcome.both else _kind(outcome.verdict.status)


def _kind(status: Status | None) -> str:
    return "bad" if status in BAD else "good" if status in GOOD else "none"


def _joined(rows: Iterable[Row], night: Night) -> list[Row]:
    """Return a row for each reason, with the others of that reason."""
    by_finding = {row.finding: row for row in rows}
    groups = [[by_finding[each] for each in group] for group in alike(by_finding, night)]
    return [dataclasses.replace(first, others=tuple(others)) for first, *others in groups]


def _rows(site: NightSite) -> dict[Class, list[Row]]:
    found: dict[Class, list[Row]] = {}
    failures = _failure_pages(site)
    for finding in site.night.findings:
        row = Row(
            finding,
            site.strips.get((finding.lane_id, finding.test), ()),
            _test_page(finding.test) if finding.test in site.pasts else "",
            failures.get((finding.cell, finding.test), ""),
        )
        found.setdefault(finding.kind, []).append(row)
    return found


def _failure_pages(site: NightSite) -> dict[tuple[int, str], str]:
    """Return the pages of tonight's unexpected results, by cell and test."""
    found = {}
    for cell, folder in site.folders.items():
        run = site.runs.get(folder / RUN_FOLDER)
        for test, path in Failures(run.cases).paths.items() if run is not None else ():
            found[cell, test] = os.path.relpath(folder / RUN_FOLDER / path, site.night.folder)
    return found


def _cell_page(site: NightSite, folder: Path) -> str:
    run = folder / RUN_FOLDER
    return os.path.relpath(run / INDEX, site.night.folder) if run in site.runs else ""


def _test_page(test: str) -> str:
    return page_path(test).replace(f"{FOLDER}/", f"{FOLDER}/test-", 1)


def _states(cells: Iterable[NightCell]) -> Mapping[State, int]:
    found = [each.state for each in cells]
    return {state: found.count(state) for state in State if state in found}
