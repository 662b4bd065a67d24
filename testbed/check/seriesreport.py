# SPDX-License-Identifier: GPL-2.0
"""The report on a change of a kernel: Markdown for a mail, and everything for programs. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from testbed.check.report import allowed_lines, check_content, difference_lines
from testbed.check.serieschange import SeriesChange, SubjectResult, Verdict
from testbed.inventory.findings import Finding

# A series that converts a macro touches a hundred hooks.
_SHOWN = 20


def finding_lines(found: Sequence[Finding]) -> Iterator[str]:
    """Yield what the text of the later kernel shows, before anything is built."""
    for each in found:
        yield f"- {each.line}"


def change_lines(found: SeriesChange) -> Iterator[str]:
    """Yield the verdict on each hook, then the findings and the differences."""
    yield f"# {found.title}"
    yield ""
    yield from _table(found)
    if found.findings:
        yield ""
        yield "# findings in the text"
        yield ""
        yield from finding_lines(found.findings)
    yield from _differences(found)
    yield from allowed_lines([*found.conversions.values()])
    yield from _unreached(found.results)


def change_content(found: SeriesChange) -> dict[str, Any]:
    """Return everything for programs, fit for json.dumps()."""
    return {
        "title": found.title,
        "hooks": [_result(each) for each in found.results],
        "findings": [dataclasses.asdict(each) for each in found.findings],
        "left_out": dict(found.left_out),
        "conversions": {
            f"{recipe} on {arch}": check_content([conversion])[0]
            for (recipe, arch), conversion in found.conversions.items()
        },
    }


def _result(found: SubjectResult) -> dict[str, Any]:
    subject = found.subject
    return {
        "hook": subject.name,
        "place": subject.place,
        "touch": subject.touch,
        "recipes": [recipe.name for recipe in subject.recipes],
        "arch": found.arch,
        "verdict": found.verdict,
        "why": found.why,
        "nearest": subject.nearest,
        "trials": found.compared,
        "chain_checked": found.chain_checked,
    }


def _table(found: SeriesChange) -> Iterator[str]:
    yield f"| hook | change | {' | '.join(found.arches)} |"
    yield f"|---|---|{'---|' * len(found.arches)}"
    width = len(found.arches)
    for number, subject in enumerate(found.subjects[:_SHOWN]):
        results = found.results[number * width : (number + 1) * width]
        verdicts = " | ".join(map(_verdict, results))
        yield f"| {subject.name} ({subject.place}) | {subject.touch} | {verdicts} |"
    if len(found.subjects) > _SHOWN:
        yield ""
        yield f"and {len(found.subjects) - _SHOWN} more: check.json has all"


def _verdict(found: SubjectResult) -> str:
    if found.verdict is Verdict.UNREACHED:
        return found.verdict
    chain = "" if found.chain_checked else "; the chain was not checked"
    return f"{found.verdict}: {found.compared} trials{chain}"


def _differences(found: SeriesChange) -> Iterator[str]:
    for (recipe, arch), conversion in found.conversions.items():
        if conversion.differences:
            yield ""
            yield f"# differences: {recipe} on {arch}"
            yield from difference_lines([conversion])


def _unreached(results: Sequence[SubjectResult]) -> Iterator[str]:
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for each in results:
        if each.verdict is Verdict.UNREACHED:
            reason = each.why, each.subject.nearest
            reasons.setdefault(reason, {})[each.subject.name] = None
    if reasons:
        yield ""
        yield "# not reached"
    for (why, nearest), names in reasons.items():
        yield ""
        yield f"- {'; '.join([*names][:_SHOWN])}"
        yield f"  {why}"
        if nearest:
            yield f"  nearest: {nearest}"
