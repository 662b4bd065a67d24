# SPDX-License-Identifier: GPL-2.0
"""The report of a run on a terminal: results by path and architecture, and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from testbed.report.guarantees import coverage_summary
from testbed.report.hooks import reach_summary
from testbed.results.model import Case, Run, Status
from testbed.terminal import plain

_STYLES = {
    Status.FAIL: "bold red",
    Status.ERROR: "red",
    Status.MISS: "red",
    Status.XFAIL: "yellow",
    Status.FIXED: "cyan",
    Status.PASS: "green",
    Status.SKIP: "dim",
}


def print_report(console: Console, run: Run, folder: Path) -> None:
    """Print the environments, the table, and each unexpected case with its evidence."""
    for line in _environment_lines(run):
        plain(console, line)
    for line in run.retried:
        plain(console, f"retried after {line}")
    console.print(path_table(run))
    for case, more in _failures(run.cases):
        console.print(_failure(case, more), soft_wrap=True)
    for remark in _remarks(run.cases):
        console.print(remark, soft_wrap=True)
    for line in filter(None, (coverage_summary(run), reach_summary(run))):
        plain(console, line)
    console.print(summary(run), highlight=False)
    plain(console, f"results: {folder}")


def path_table(run: Run) -> Table:
    """Return the table of path × architecture; tests without a path have a row per file."""
    arches = sorted({case.arch for case in run.cases})
    table = Table("path", *arches, box=None, pad_edge=False)
    for row in _rows(run.cases):
        cells = (
            _cell(case for case in run.cases if (case.row, case.arch) == (row, arch))
            for arch in arches
        )
        table.add_row(row, *cells)
    return table


def summary(run: Run) -> str:
    """Return the last line: counts, and the duration of the run."""
    counts = [f"{run.count(status)} {status}" for status in Status if run.count(status)]
    return f"{', '.join(counts) or 'no test ran'} in {run.seconds:.1f} s"


def _environment_lines(run: Run) -> Iterator[str]:
    for env in run.environments:
        series = f" + {', '.join(env.series)}" if env.series else ""
        yield f"{env.arch}: {env.kernel} ({env.source}{series})"
        yield f"  flavour {env.flavour}, isolation {env.isolation}, QEMU {env.qemu},"
        yield f"  {env.accel} ({env.accel_reason})"
        if env.options:
            yield f"  {env.options}"


def _rows(cases: Iterable[Case]) -> list[str]:
    """Return the paths in the order of the tests, then the other rows."""
    seen = list(dict.fromkeys(case.row for case in cases))
    paths = {case.path for case in cases}
    return sorted(seen, key=lambda row: row not in paths)


def _cell(cases: Iterable[Case]) -> Text:
    counts = Counter(case.status for case in cases)
    text = Text()
    for status in Status:
        if counts[status]:
            text.append(f"{counts[status]} {status.lower()} ", style=_STYLES[status])
    return text


def _failures(cases: Iterable[Case]) -> Iterator[tuple[Case, int]]:
    """Yield each unexpected case, and how many others it stands for.

    Tests that did not run (MISS) for the same reason are yielded once, with the first of them.
    """
    shown = [case for case in cases if not case.status.as_expected]
    missed = Counter(case.reason for case in shown if case.status is Status.MISS)
    for case in shown:
        if case.status is not Status.MISS:
            yield case, 0
        elif more := missed.pop(case.reason, 0):
            yield case, more - 1


def _failure(case: Case, more: int) -> Text:
    text = Text(f"\n{case.status} {case.test}", style=_STYLES[case.status])
    if more:
        text.append(f" and {more} more for the same reason")
    return text.append(f"\n{case.evidence or case.reason}", style="default")


def _remarks(cases: Iterable[Case]) -> Iterator[Text]:
    """Yield one line for each recorded defect that showed, and for each that is fixed."""
    shown: dict[tuple[Status, str], list[Case]] = {}
    for case in cases:
        if case.status in (Status.XFAIL, Status.FIXED):
            shown.setdefault((case.status, case.reason.partition(":")[0]), []).append(case)
    for (status, _), alike in shown.items():
        places = dict.fromkeys(f"{case.arch} {case.path}".strip() for case in alike)
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        text = f"{status.lower()} {alike[0].reason}{more} ({', '.join(places)})"
        yield Text(text, style=_STYLES[status])
