# SPDX-License-Identifier: GPL-2.0
"""A night whose pages are written, and the past of what it found, from the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from testbed.errors import SetupError
from testbed.history.cells import run_named
from testbed.history.database import History
from testbed.history.queries import night, pasts, path_counts, strips
from testbed.history.records import Class, Finding, Lane, LaneNight, Outcome, PathCounts, Square
from testbed.nightly.cell import RUN_FOLDER
from testbed.nightly.kinds import HOOKS
from testbed.nightly.night import Night
from testbed.results.model import Run
from testbed.results.store import read_run

# A night that goes wrong as a whole has thousands of findings: so many tests get a page.
_TESTS = 300

# The outcomes of a test in a lane that its page shows.
_OUTCOMES = 60

Strip = tuple[Square, ...]
Past = Mapping[Lane, list[Outcome]]


@dataclass(frozen=True)
class NightSite:
    """A night, its lanes, and the past of its findings."""

    night: Night
    lanes: tuple[LaneNight, ...] = ()
    strips: Mapping[tuple[int, str], Strip] = field(default_factory=dict)  # by lane and test
    pasts: Mapping[str, Past] = field(default_factory=dict)  # by test
    conversions: Mapping[int, tuple[PathCounts, ...]] = field(default_factory=dict)  # by lane

    @cached_property
    def folders(self) -> dict[int, Path]:
        """The folders of the cells that ran tonight, by their numbers in the history."""
        by_content = {each.cell.content: each.folder for each in self.night.cells if each.folder}
        cells = (cell for lane in self.lanes for cell in lane.cells)
        return {cell.id: by_content[cell.content] for cell in cells if cell.content in by_content}

    @cached_property
    def runs(self) -> dict[Path, Run]:
        """The runs of the cells that ran tonight, by their folders, as far as they can be read."""
        found = {}
        for each in self.night.cells:
            if each.folder is not None:
                with suppress(SetupError):
                    found[each.folder / RUN_FOLDER] = read_run(each.folder / RUN_FOLDER)
        return found

    def of_class(self, kind: Class) -> list[Finding]:
        return self.night.of_class(kind)


def read_night(history: History, found: Night) -> NightSite:
    """Read what the pages of a night show.

    Raises:
        HistoryError: the database went away.
    """
    with history.read() as db:
        run = run_named(db, found.name)
        lanes = tuple(night(db, run)) if run is not None else ()
        tests: dict[int, list[str]] = defaultdict(list)
        for finding in found.findings:
            tests[finding.lane_id].append(finding.test)
        until = {lane.lane_id: max(cell.seq for cell in lane.cells) for lane in lanes if lane.cells}
        shown = {
            (lane, test): strip
            for lane, names in tests.items()
            for test, strip in strips(db, lane, names, until.get(lane)).items()
        }
        conversions = {
            lane.lane_id: tuple(path_counts(db, lane.lane_id, until.get(lane.lane_id)))
            for lane in lanes
            if lane.lane.kind == HOOKS
        }
        names = list(dict.fromkeys(finding.test for finding in found.findings))[:_TESTS]
        known = pasts(db, names, _OUTCOMES)
    return NightSite(found, lanes, shown, known, conversions)
