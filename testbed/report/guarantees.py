# SPDX-License-Identifier: GPL-2.0
"""The guarantees that the cases of a run have shown, by path and architecture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from testbed.mmap.guarantees import GUARANTEES, Guarantee
from testbed.mmap.path import HookPath
from testbed.results.model import Case, Run, Status, worst

COVERAGE_FILE = "guarantees.md"

NOT_COVERED = "not covered"

# The column of tests without a path: in-tree stacks and single files.
_ELSEWHERE = "elsewhere"
_COLUMNS = (*HookPath, _ELSEWHERE)

_HEAD = "# The kernel's promises, and the results of this run\n"


def coverage_table(run: Run) -> str:
    """Return a Markdown table of guarantees by path for each architecture."""
    arches = sorted({case.arch for case in run.cases if case.guarantees})
    tables = (_table(arch, [case for case in run.cases if case.arch == arch]) for arch in arches)
    return "\n".join([_HEAD, *tables])


def coverage_summary(run: Run) -> str:
    """Return the summary, one line; empty if no test of the run names a guarantee."""
    arches = sorted({case.arch for case in run.cases if case.guarantees})
    if not arches:
        return ""
    shown = ", ".join(f"{_covered(run.cases, arch)} on {arch}" for arch in arches)
    return f"guarantees: {shown}, of {len(GUARANTEES)} ({COVERAGE_FILE})"


def write_coverage(folder: Path, run: Run) -> None:
    """Write the table into a run's folder, unless no test of the run names a guarantee."""
    if coverage_summary(run):
        (folder / COVERAGE_FILE).write_text(coverage_table(run))


def cell(guarantee: Guarantee, column: str, cases: Iterable[Case]) -> str:
    """Return a table cell: the worst status with the number of cases, or why there is none."""
    found = [case.status for case in cases if _is_about(case, guarantee, column)]
    if found:
        return f"{worst(found).lower()} ({len(found)})"
    if guarantee.why_not:
        return f"n/a: {guarantee.why_not}"
    if column == _ELSEWHERE:
        return ""
    reason = guarantee.not_on.get(HookPath(column))
    return f"n/a: {reason}" if reason else NOT_COVERED


def _is_about(case: Case, guarantee: Guarantee, column: str) -> bool:
    """Whether a case counts for a guarantee in a column; a skipped case does not."""
    shows = guarantee.number in case.guarantees and case.status is not Status.SKIP
    return shows and (case.path or _ELSEWHERE) == column


def _covered(cases: Iterable[Case], arch: str) -> int:
    known = [case for case in cases if case.arch == arch and case.status is not Status.SKIP]
    numbers = {number for case in known for number in case.guarantees}
    return len(numbers & {guarantee.number for guarantee in GUARANTEES})


def _table(arch: str, cases: list[Case]) -> str:
    lines = [f"## {arch}\n", f"| | promise | {' | '.join(_COLUMNS)} |"]
    lines.append("|---|---|" + "---|" * len(_COLUMNS))
    for guarantee in GUARANTEES:
        cells = " | ".join(cell(guarantee, column, cases) for column in _COLUMNS)
        lines.append(f"| {guarantee.number} | {guarantee.text} | {cells} |")
    return "\n".join(lines) + "\n"
