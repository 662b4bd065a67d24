# SPDX-License-Identifier: GPL-2.0
"""The burn-down of the kernel's hooks: of one run, and over the nights of a lane."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.history.records import PathCounts
from testbed.inventory.burndown import BurnDown, Change
from testbed.nightly.cell import RUN_FOLDER
from testbed.nightly.hooks_cell import CONVERTED
from testbed.pages.nightsite import NightSite
from testbed.pages.runsite import RunSite
from testbed.pages.site import FOLDER, Page, write_pages
from testbed.report.burned import read_burn_down

PATH = f"{FOLDER}/burn-down.html"
NIGHT_PATH = f"{FOLDER}/hooks.html"

_TEMPLATE = "burndown.html"

# In pixels: the bar of a struct, and the line of the nights.
_BAR_WIDTH = 180
_LINE_WIDTH, _LINE_HEIGHT = 310, 60

_ABOUT = {
    Change.CONVERTED: "the hook has the new member now",
    Change.UNCONVERTED: "the hook went back to the old member",
    Change.NEW: "only the later kernel has the hook",
    Change.GONE: "only the earlier kernel has the hook",
}


@dataclass(frozen=True)
class Bar:
    """The converted share of a struct's hooks, in pixels: before, and after."""

    before: float
    after: float
    width: int = _BAR_WIDTH

    @classmethod
    def of(cls, before: tuple[int, int], after: tuple[int, int]) -> Bar:
        was, now = (_BAR_WIDTH * done / max(whole, 1) for done, whole in (before, after))
        return cls(was, now)


def pages(site: RunSite) -> Iterator[Page]:
    burned = read_burn_down(site.folder)
    if burned is not None:
        yield page_of(burned, PATH)


def write_burn_page(file: Path, burned: BurnDown) -> None:
    """Write the page alone.

    Raises:
        InfraError: the host cannot write, for example because the disk is full.
    """
    write_pages(file.parent, [page_of(burned, file.name)])


def page_of(burned: BurnDown, path: str) -> Page:
    counts = {change: burned.count(change) for change in Change}
    values = {
        "burned": burned,
        "headline": headline(burned),
        "todo": [f"From {burned.before} to {burned.after}."],
        "bad": bool(counts[Change.UNCONVERTED]),
        "counts": counts,
        "kinds": [
            (change, about, [each for each in burned.changed if each.change is change])
            for change, about in _ABOUT.items()
        ],
        "bar": Bar.of,
    }
    return Page(path, _TEMPLATE, f"Hooks: {headline(burned)}", values)


def headline(burned: BurnDown) -> str:
    """Return one line: how many hooks changed, and how."""
    listed = [f"{n} {change}" for change in Change if (n := burned.count(change))]
    return ", ".join(listed) or "no hook changed"


@dataclass(frozen=True)
class LaneHooks:
    """The hooks of one lane, over its nights."""

    name: str
    page: str  # of tonight's burn-down; empty if the cell did not run
    nights: tuple[PathCounts, ...]  # oldest first

    @property
    def last(self) -> PathCounts:
        return self.nights[-1]

    @property
    def converted(self) -> list[int]:
        return [each.counts.get(CONVERTED, 0) for each in self.nights]


def night_pages(site: NightSite) -> Iterator[Page]:
    """Yield the page of all lanes that list hooks."""
    lanes = list(_lanes(site))
    if lanes:
        values = {"lanes": lanes, "line": line_points, "size": (_LINE_WIDTH, _LINE_HEIGHT)}
        yield Page(NIGHT_PATH, "nighthooks.html", "Hooks of the kernels", values)


def _lanes(site: NightSite) -> Iterator[LaneHooks]:
    for lane in site.lanes:
        if nights := site.conversions.get(lane.lane_id):
            folder = site.folders.get(lane.cells[-1].id) if lane.cells else None
            yield LaneHooks(lane.lane.key, _page_in(site, folder), nights)


def _page_in(site: NightSite, folder: Path | None) -> str:
    if folder is None or read_burn_down(folder / RUN_FOLDER) is None:
        return ""
    return os.path.relpath(folder / RUN_FOLDER / PATH, site.night.folder / FOLDER)


def line_points(values: Iterable[int]) -> str:
    """Return the points of a line of an SVG, between its least and its greatest value."""
    found = list(values)
    least, span = min(found), max(max(found) - min(found), 1)
    step = _LINE_WIDTH / max(len(found) - 1, 1)
    return " ".join(
        f"{number * step:.1f},{_LINE_HEIGHT - 3 - (value - least) / span * (_LINE_HEIGHT - 6):.1f}"
        for number, value in enumerate(found)
    )
