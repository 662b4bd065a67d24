# SPDX-License-Identifier: GPL-2.0
"""The report of a check, for people and for programs. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from testbed.check.result import Checked, Conversion, TrialResult, TrialStatus
from testbed.report.diff import FactChange

# The report shows at most this many facts of a trial. The JSON has all of them.
_SHOWN_FACTS = 6


def check_lines(found: Checked) -> Iterator[str]:
    """Yield a table of statuses per path, then the failed and the skipped trials."""
    yield f"## {found.arch}: {found.driver}, {found.node}"
    yield ""
    yield f"{found.kernel}"
    yield from (f"note: {note}" for note in found.notes)
    if found.base_mappings:
        yield f"base mappings: {'; '.join(found.base_mappings)}"
    yield from found.refused
    yield ""
    yield from _table(found.outcomes)
    yield from _failures(found.failed)
    yield from _skipped(found.outcomes)


def conversion_lines(found: Conversion) -> Iterator[str]:
    """Yield the reports of both versions, and every difference that userspace can see."""
    for title, side in (("before", found.before), ("after", found.after)):
        yield f"# {title}"
        yield ""
        yield from check_lines(side)
        yield ""
    yield "# differences"
    yield ""
    if not found.differences:
        compared = len(found.after.outcomes)
        yield f"none on {found.after.arch}; trials compared: {compared}"
    for difference in found.differences:
        yield f"- {difference.trial} on {difference.path}"
        yield from _fact_lines(difference.changes)


def check_content(found: Sequence[Checked | Conversion]) -> list[dict[str, Any]]:
    """Return everything for programs, with facts and evidence, fit for json.dumps()."""
    return [_content(each) for each in found]


def _content(found: Checked | Conversion) -> dict[str, Any]:
    if isinstance(found, Conversion):
        return {
            "before": _content(found.before),
            "after": _content(found.after),
            "differences": [dataclasses.asdict(each) for each in found.differences],
        }
    outcomes = [{**dataclasses.asdict(each), "verdict": each.status} for each in found.outcomes]
    return {**dataclasses.asdict(found), "outcomes": outcomes}


def _table(outcomes: Iterable[TrialResult]) -> Iterator[str]:
    """Yield a table with the number of trials per path and status."""
    counts: dict[str, Counter[TrialStatus]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.path, Counter())[outcome.status] += 1
    yield f"| path | {' | '.join(TrialStatus)} |"
    yield f"|---{'|---:' * len(TrialStatus)}|"
    for path, count in counts.items():
        yield f"| {path} | {' | '.join(str(count[status]) for status in TrialStatus)} |"


def _failures(failed: Iterable[TrialResult]) -> Iterator[str]:
    """Yield the failed trials. Paths with identical complaints share one entry."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for outcome in failed:
        alike.setdefault((outcome.trial, outcome.complaints), []).append(outcome.path)
    for (trial, complaints), paths in alike.items():
        yield ""
        yield f"- {trial} on {', '.join(paths)}: does not hold"
        for complaint in complaints:
            yield from (f"  {line}" for line in complaint.splitlines())


def _skipped(outcomes: Iterable[TrialResult]) -> Iterator[str]:
    reasons: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        if outcome.skipped:
            reasons.setdefault(outcome.skipped, {})[outcome.trial] = None
    for reason, trials in reasons.items():
        yield ""
        yield f"- skipped, {reason}: {', '.join(trials)}"


def _fact_lines(changes: Sequence[FactChange]) -> Iterator[str]:
    """Yield both values below the name of the fact, which is long."""
    for change in changes[:_SHOWN_FACTS]:
        yield f"  {change.where}"
        yield f"    before: {change.base}"
        yield f"    after:  {change.new}"
    if len(changes) > _SHOWN_FACTS:
        yield f"  and {len(changes) - _SHOWN_FACTS} more"
