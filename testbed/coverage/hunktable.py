# SPDX-License-Identifier: GPL-2.0
"""The table of hunks: which lines ran, and what ran them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from testbed.coverage.hunks import Hunk, HunkRun, Seen, Way
from testbed.report.text import table_head, table_row

_HEADS = ("hunk", *Way, "never run", "tests")


def lines_of(found: Mapping[str, Sequence[HunkRun]]) -> Iterator[str]:
    """Yield a table for each architecture, and a line that sums it up."""
    for arch, runs in found.items():
        yield f"## {arch}"
        yield ""
        yield from table_head(*_HEADS)
        yield from map(_row, runs)
        yield ""
        yield f"{arch}: {summary(runs)}"
        yield ""


def _row(run: HunkRun) -> str:
    if not run.compiled:
        return table_row([run.hunk, *("-" for _ in Way), "not compiled", ""])
    if not run.lines:
        return table_row([run.hunk, *("-" for _ in Way), "no code", ""])
    tests = ", ".join(f"{way}: {test.rpartition('/')[2]}" for way, test in run.tests.items())
    return table_row([run.hunk, *(_numbers(run.ran(way)) for way in (*Way, None)), tests])


def summary(runs: Sequence[HunkRun]) -> str:
    """Return one line: how many lines with code ran, and in how many hunks none did."""
    lines = [line for run in runs for line in run.lines.values()]
    ran = sum(line.way is not None for line in lines)
    idle = sum(bool(run.lines) and len(run.ran(None)) == len(run.lines) for run in runs)
    return f"{ran} of {len(lines)} lines ran; {idle} of {len(runs)} hunks never ran"


def _numbers(numbers: Sequence[int]) -> str:
    """Return line numbers as runs: 3-5, 8."""
    parts = []
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        [*same] = (number for _, number in run)
        parts.append(str(same[0]) if len(same) == 1 else f"{same[0]}-{same[-1]}")
    return ", ".join(parts)


def hunks_by_test(seen: Iterable[Seen], hunks: Sequence[Hunk]) -> dict[str, list[str]]:
    """Return the hunks that each test ran, of those that ran any."""
    found = {each.test: [str(hunk) for hunk in hunks if each.ran(hunk)] for each in seen}
    return {test: ran for test, ran in found.items() if ran}


def content_of(found: Mapping[str, Sequence[HunkRun]]) -> dict[str, Any]:
    """Return the whole result as values that json.dumps() accepts."""
    return {
        arch: [
            {
                "hunk": str(run.hunk),
                "compiled": run.compiled,
                "lines": {number: dict(line.tests) for number, line in run.lines.items()},
            }
            for run in runs
        ]
        for arch, runs in found.items()
    }


def idle(found: Mapping[str, Sequence[HunkRun]]) -> bool:
    """Whether a hunk with code never ran."""
    return any(
        run.lines and len(run.ran(None)) == len(run.lines)
        for runs in found.values()
        for run in runs
    )
