# SPDX-License-Identifier: GPL-2.0
"""The past of a test as `testbed history` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text
from sqlalchemy import Connection

from testbed.history.classify import WINDOW
from testbed.history.phrases import letter, sentences
from testbed.history.queries import lanes_of, past, strips
from testbed.history.records import Lane, Outcome, Square
from testbed.results.model import Status

_COLOURS = {
    Status.FAIL: "red",
    Status.ERROR: "red",
    Status.MISS: "magenta",
    Status.XFAIL: "yellow",
    Status.FIXED: "cyan",
    Status.PASS: "green",
}


@dataclass(frozen=True)
class LanePast:
    """The past of a test in one lane."""

    lane: Lane
    outcomes: Sequence[Outcome]
    strip: Sequence[Square]

    @property
    def words(self) -> list[str]:
        return list(sentences(self.outcomes, WINDOW))

    def squares(self, *, colour: bool) -> Text:
        """Return the strip: coloured squares, or letters."""
        if not colour:
            return Text("  " + "".join(map(letter, self.strip)))
        line = Text("  ")
        for square in self.strip:
            style = "yellow" if square.both else _COLOURS.get(square.status or Status.SKIP, "dim")
            line.append("\u25a0", style=style)
        return line


@dataclass(frozen=True)
class Past:
    """The past of a test, by lane."""

    test: str
    lanes: Sequence[LanePast]

    @classmethod
    def of(cls, db: Connection, test: str) -> Past:
        found = []
        for lane_id, lane in lanes_of(db, test).items():
            outcomes = past(db, lane_id, test)
            strip = strips(db, lane_id, [test])[test]
            found.append(LanePast(lane, outcomes, strip))
        return cls(test, found)

    def lines(self, *, colour: bool) -> Iterator[Text]:
        yield Text(self.test, style="bold")
        for each in self.lanes:
            yield Text(f"  {each.lane.key}")
            yield each.squares(colour=colour)
            yield from (Text(f"  {sentence}") for sentence in each.words)

    @property
    def content(self) -> dict[str, Any]:
        """The past as JSON."""
        lanes = [
            {
                "lane": each.lane.key,
                "words": each.words,
                "results": [_result(outcome) for outcome in each.outcomes],
            }
            for each in self.lanes
        ]
        return {"test": self.test, "lanes": lanes}


def _result(outcome: Outcome) -> dict[str, Any]:
    verdict, cell = outcome.verdict, outcome.cell
    return {
        "run": cell.run_name,
        "started": cell.started,
        "kernel": cell.kernel,
        "status": verdict.status,
        "reason": verdict.signature.text if verdict.signature else "",
        "seconds": verdict.seconds,
        "tries": [{"status": each.status, "alone": each.alone} for each in outcome.tries],
    }
