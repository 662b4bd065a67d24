# SPDX-License-Identifier: GPL-2.0
"""The past of a test in words, and as a strip. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed.history.judging import Entry, Try, is_flaky
from testbed.history.records import BAD, GOOD, Outcome, Square, wilson
from testbed.history.streak import ends_of
from testbed.results.model import Status

# A square without colour.
_LETTERS = {
    Status.FAIL: "F",
    Status.ERROR: "E",
    Status.MISS: "M",
    Status.XFAIL: "x",
    Status.FIXED: "f",
    Status.PASS: ".",
    Status.SKIP: "s",
}
BOTH, ABSENT = "B", "-"

LEGEND = (
    ". pass, F fail, E error, x known defect, f fixed defect, M missing result, s skip, "
    "B both outcomes, - not run"
)


def letter(square: Square) -> str:
    """Return the letter of a square."""
    if square.both:
        return BOTH
    return _LETTERS[square.status] if square.status else ABSENT


def entries(outcomes: Sequence[Outcome]) -> list[Entry]:
    """Return a past as judging.py reads it; its last outcome is that of the night."""
    return [
        Entry(
            cell=outcome.cell.id,
            content=outcome.cell.content,
            tonight=outcome is outcomes[-1],
            status=outcome.verdict.status,
            signature=outcome.verdict.signature,
            tries=tuple(Try(each.status, each.alone) for each in outcome.tries),
        )
        for outcome in outcomes
    ]


def sentences(outcomes: Sequence[Outcome], window: int) -> Iterator[str]:
    """Yield what the past of a test in one lane says. Its outcomes are the oldest first."""
    counted = [each for each in outcomes if each.verdict.status in BAD | GOOD]
    if not counted:
        yield f"no outcome in {len(outcomes)} results"
        return
    yield _standing(counted)
    recent = entries(counted[-window:])
    bad = sum(entry.is_bad for entry in recent)
    if bad:
        low, high = wilson(bad, len(recent))
        rate = f"bad in {bad} of the last {len(recent)} ({low:.0%} to {high:.0%})"
        yield f"{rate}, flaky" if is_flaky(recent) else rate
    reasons = [each.verdict.signature for each in counted if each.verdict.status in BAD]
    if reasons and reasons[-1] is not None:
        yield reasons[-1].text


def _standing(counted: Sequence[Outcome]) -> str:
    """Say since when a test is bad, or was; or that it was never bad."""
    places = {outcome.cell.id: place for place, outcome in enumerate(counted)}
    first, good = ends_of(entries(counted))
    if first is None:
        return f"never bad in {len(counted)} results, the last in {_where(counted[-1])}"
    begin = places[first.cell]
    before = f", last good in {_where(counted[places[good.cell]])}" if good else ""
    if counted[-1].verdict.status in BAD:
        return f"bad since {_where(counted[begin])}{before}"
    end = next(each for each in counted[begin:] if each.verdict.status in GOOD)
    return f"good since {_where(end)}, bad from {_where(counted[begin])} on{before}"


def _where(outcome: Outcome) -> str:
    cell = outcome.cell
    return f"{cell.run_name} ({cell.kernel})" if cell.kernel else cell.run_name
