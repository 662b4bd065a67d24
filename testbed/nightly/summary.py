# SPDX-License-Identifier: GPL-2.0
"""A night in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from testbed.history.records import Class, Point
from testbed.nightly.alike import Group, alike, lanes_of
from testbed.nightly.cell import Cell
from testbed.nightly.night import Bisected, Night, NightCell, counted
from testbed.nightly.table import State
from testbed.results.model import Status

# Classes whose findings are listed; the others are only counted.
_LISTED = (Class.NEW, Class.OTHERWISE, Class.CHANGED, Class.FIXED)

# Findings of one class that are listed, each with those that are alike.
_MOST = 20

# Changed facts of one test that are listed; its page has all.
_FACTS = 3


def summary_lines(night: Night) -> Iterator[str]:
    """Yield what a person should know in the morning: cells, what changed, what is missing."""
    for each in night.cells:
        yield f"{each.cell.title}: {_words(each)}"
    counts = counted(night.findings)
    yield " | ".join(f"{n} {kind}" for kind, n in counts.items())
    for kind in _LISTED:
        groups = alike(night.of_class(kind), night)
        for group in groups[:_MOST]:
            yield from _group_lines(group, night)
        rest = groups[_MOST:]
        if rest:
            yield f"... and {sum(map(len, rest))} more {kind}, for {len(rest)} other reasons"
    if night.trouble:
        yield f"the history went away, so nothing is compared: {night.trouble}"
    states = ((state, len(night.of_state(state))) for state in State)
    cells = ", ".join(f"{n} {state}" for state, n in states if n)
    yield f"cells: {cells}, in {hours_text(night.seconds)}"
    yield f"night: {night.folder}"


def _group_lines(group: Group, night: Night) -> Iterator[str]:
    """Yield a finding: what, where, since when, what changed, and the commit if one was found."""
    finding = group[0]
    why = f": {finding.signature.text}" if finding.signature else ""
    yield f"{finding.kind} {finding.test}{why}"
    rate = f", bad in {finding.bad} of {finding.total}" if finding.total else ""
    yield f"    lane: {finding.lane.key}{rate}"
    if finding.last_good and finding.first_bad:
        good, bad = kernel_of(finding.last_good), kernel_of(finding.first_bad)
        yield f"    last good: {good}; first bad: {bad}"
    facts = night.facts_of(finding)
    yield from (f"    {fact.where}: {fact.new}, not {fact.base}" for fact in facts[:_FACTS])
    if len(facts) > _FACTS:
        yield f"    and {len(facts) - _FACTS} more facts"
    for each in searches(group, night):
        found = f"{each.commit[:12]} {each.title}" if each.commit else each.reason
        yield f"    first bad commit: {found}"
    if len(group) > 1:
        yield f"    {len(group)} for this reason: {lanes_of(group)}"


def searches(group: Group, night: Night) -> list[Bisected]:
    """Return the searches for the commit that made one of these tests fail."""
    tests = {(finding.test, finding.lane.stream) for finding in group}
    return [each for each in night.bisected if (each.test, each.stream) in tests]


def kernel_of(point: Point) -> str:
    """Return the kernel of a point of a test's past: its release, and its commit if it has one."""
    return f"{point.kernel} ({point.commit[:12]})" if point.commit else point.kernel


def list_lines(
    cells: Sequence[Cell],
    seconds: Mapping[str, float],
    known: Mapping[str, str],
    budget: float,
) -> Iterator[str]:
    """Yield the cells of a night to come, in their order.

    Args:
        seconds: that each is expected to take, by content key.
        known: where the results of some are, by content key.
        budget: the seconds of the night.
    """
    total = 0.0
    for cell in cells:
        if cell.content in known:
            yield f"known  {cell.title}: {known[cell.content]}"
            continue
        total += seconds[cell.content]
        fits = "runs" if total <= budget else "left"
        yield f"{fits}   {cell.title}: {hours_text(seconds[cell.content])}"
    whole = f"{hours_text(total)} one after the other"
    yield f"cells: {len(cells)}, {whole}; the night has {hours_text(budget)}"


def counts_text(counts: Mapping[Status, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts.items()) or "no case"


def hours_text(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _words(each: NightCell) -> str:
    if each.state is State.DONE:
        return f"{counts_text(each.counts)} in {hours_text(each.seconds)}"
    if each.state is State.KNOWN:
        return f"known since {each.known}"
    if each.state is State.LEFT:
        return f"not run: {each.reason}"
    return f"no result: {each.reason}" if each.reason else "no result"
