# SPDX-License-Identifier: GPL-2.0
"""The report of a check, for people and for programs. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from testbed.check.alike import Alike, alike_changes, alike_complaints, telling
from testbed.check.result import (
    AllowedDifference,
    Checked,
    Conversion,
    TrialResult,
    TrialStatus,
)
from testbed.report.diff import FactChange

# The report shows at most this many groups and skipped trials. The JSON has all of them.
_SHOWN = 8
_SHOWN_CHANGES = 4
_SHOWN_SKIPPED = 3

# A page has other content than before.
_CHANGED = re.compile(r"\bpage \d+ is \w+(:0x\w+)? .*, was |\bpages [\d, -]+ changed ")
_VOLATILE = (
    "if the driver itself changes a page on such an event, name it in a plan: volatile = [0]"
)

# Of a complaint, such as a driver's own message, it shows at most this many lines.
_LINES = 6


def check_lines(found: Checked) -> Iterator[str]:
    """Yield a table of statuses per path, then the failed and the skipped trials."""
    yield f"## {found.arch}: {found.driver}, {found.node}"
    yield ""
    yield f"{found.kernel}"
    yield from _verdict_lines(found)
    yield from _skipped(found.outcomes)


def summary_line(found: Checked | Conversion) -> str:
    """Return the result of a driver, one line."""
    side = found.after if isinstance(found, Conversion) else found
    counts = Counter(outcome.status for outcome in side.outcomes)
    words = ", ".join(f"{counts[status]} {status}" for status in TrialStatus if counts[status])
    more = f", {len(found.differences)} differ" if isinstance(found, Conversion) else ""
    return f"{side.driver} on {side.arch}: {words}{more}"


def conversion_lines(found: Conversion) -> Iterator[str]:
    """Yield the verdicts on both versions, and every difference that userspace can see."""
    yield f"## {found.after.arch}: {found.before.node}"
    yield ""
    yield f"{found.after.kernel}"
    for title, side in (("before", found.before), ("after", found.after)):
        yield ""
        yield f"# {title}: {side.driver}"
        yield from _verdict_lines(side)
    yield from _skipped(found.after.outcomes)
    yield ""
    yield "# differences"
    if not found.differences:
        compared = len(found.after.outcomes)
        yield ""
        yield f"none on {found.after.arch}; trials compared: {compared}"
    yield from difference_lines([found])
    yield from allowed_lines([found])


def difference_lines(found: Sequence[Conversion]) -> Iterator[str]:
    """Yield the differences of these conversions, equal ones once. Errors come first."""
    groups = alike_changes(
        (change, (each.trial, each.path))
        for conversion in found
        for each in conversion.differences
        for change in telling(each.changes)
    )
    yield from _groups(sorted(groups, key=_is_effect), "differences", _SHOWN_CHANGES)


def _is_effect(group: Alike) -> bool:
    """Whether a difference may follow from an error of a call, which says more."""
    where = group.example.where if isinstance(group.example, FactChange) else ""
    return not where.endswith((".error", "verdict"))


def allowed_lines(found: Sequence[Conversion]) -> Iterator[str]:
    """Yield what differs and is no difference, by reason, with one example of each."""
    reasons: dict[tuple[str, str], list[AllowedDifference]] = {}
    for conversion in found:
        for each in conversion.allowed:
            reasons.setdefault((each.reason, each.source), []).append(each)
    if reasons:
        yield ""
        yield "# allowed"
    for (reason, source), changes in reasons.items():
        yield ""
        yield f"- {reason} ({source})"
        yield from _groups(
            alike_changes((each.change, (each.trial, each.path)) for each in changes[:1]), "", 1
        )


def _verdict_lines(found: Checked) -> Iterator[str]:
    yield from (f"note: {note}" for note in found.notes)
    if found.base_mappings:
        yield f"base mappings: {'; '.join(found.base_mappings)}"
    yield from found.refused
    yield ""
    yield from _table(found.outcomes)
    yield from _failures(found.failed)
    if any(_CHANGED.search(text) for each in found.failed for text in each.complaints):
        yield ""
        yield f"hint: {_VOLATILE}"


def check_content(found: Sequence[Checked | Conversion]) -> list[dict[str, Any]]:
    """Return everything for programs, with facts and evidence, fit for json.dumps()."""
    return [_content(each) for each in found]


def _content(found: Checked | Conversion) -> dict[str, Any]:
    if isinstance(found, Conversion):
        return {
            "before": _content(found.before),
            "after": _content(found.after),
            "differences": [dataclasses.asdict(each) for each in found.differences],
            "allowed": [dataclasses.asdict(each) for each in found.allowed],
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
    """Yield each complaint once, with the trials that made it."""
    yield from _groups(
        alike_complaints(
            (complaint, (outcome.trial, outcome.path))
            for outcome in failed
            for complaint in outcome.complaints
        ),
        "complaints",
        _SHOWN,
    )


def _groups(groups: Sequence[Alike], what: str, most: int) -> Iterator[str]:
    for group in groups[:most]:
        yield ""
        if isinstance(group.example, FactChange):
            yield from _change_lines(group.example)
        else:
            first, *more = group.example.splitlines()
            yield f"- {first}"
            yield from (f"  {line}" for line in more[: _LINES - 1])
            if len(more) >= _LINES:
                yield "  ..."
        yield f"  {group.where}"
    if len(groups) > most:
        yield ""
        yield f"and {len(groups) - most} more kinds of {what}: check.json has all"


def _change_lines(change: FactChange) -> Iterator[str]:
    """Yield both values below the name of the fact, which is long."""
    yield f"- {change.where}"
    yield f"    before: {change.base}"
    yield f"    after:  {change.new}"


def _skipped(outcomes: Iterable[TrialResult]) -> Iterator[str]:
    reasons: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        if outcome.skipped:
            reasons.setdefault(outcome.skipped, {})[outcome.trial] = None
    for reason, trials in reasons.items():
        shown = [*trials][:_SHOWN_SKIPPED]
        more = len(trials) - len(shown)
        yield ""
        yield f"- skipped, {reason}: {', '.join(shown)}" + (f" and {more} more" if more else "")
