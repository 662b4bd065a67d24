# SPDX-License-Identifier: GPL-2.0
"""The report of a run on a terminal: results by path and architecture, and failures.

Unexpected cases with one status and one cause are alike: the first of them stands for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from testbed.mmap.path import HookPath
from testbed.report.guarantees import coverage_summary
from testbed.report.hooks import reach_summary, read_hooks
from testbed.results.model import Case, Run, Status
from testbed.results.reason import cause_of
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


# At most so many reasons are shown with all evidence; each further one gets some lines.
_IN_FULL = 20

# So many reasons are listed at the end. The files of the run have all.
_REASONS = 30

# The lines of the evidence that say how to look at a case again (testbed/suite/recorder.py).
_POINTERS = ("rerun: ", "repro: ")

_PATH_ORDER = {str(path): number for number, path in enumerate(HookPath)}


def print_report(
    console: Console, run: Run, folder: Path, *, shown: Collection[str] = frozenset()
) -> None:
    """Print the environments, the table, the unexpected cases with their evidence, and a summary.

    `shown` are the tests whose evidence the user has seen during the run: it is not repeated.
    """
    for line in _environment_lines(run):
        plain(console, line)
    for line in run.retried:
        plain(console, f"retried after {line}")
    console.print(Tally.of(run.cases).table())
    groups = alike(run.cases)
    unseen = [group for group in groups if not any(case.test in shown for case in group)]
    for case, *others in unseen[:_IN_FULL]:
        console.print(failure(case, len(others)), soft_wrap=True)
    for remark in _remarks(run.cases):
        console.print(remark, soft_wrap=True)
    if len(groups) > 1 or unseen != groups:
        for line in reasons(groups):
            plain(console, line)
    summaries = coverage_summary(run), reach_summary(read_hooks(folder), run)
    for line in filter(None, summaries):
        plain(console, line)
    console.print(summary(run), highlight=False)
    if run.left_out:
        plain(console, run.left_out)
    plain(console, f"results: {folder}")


@dataclass
class Tally:
    """Counts of cases by path and architecture; tests without a path have a row per file."""

    counts: dict[tuple[str, str], Counter[Status]] = field(default_factory=dict)
    rows: dict[str, bool] = field(default_factory=dict)  # whether each row is a path
    arches: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, cases: Iterable[Case]) -> Tally:
        tally = cls()
        for case in cases:
            tally.add(case)
        return tally

    def add(self, case: Case) -> None:
        self.rows[case.row] = bool(case.path)
        self.arches.add(case.arch)
        self.counts.setdefault((case.row, case.arch), Counter())[case.status] += 1

    def table(self, height: int | None = None) -> Table:
        """Return the table. If its rows exceed `height`, one row joins those without a path."""
        arches = sorted(self.arches)
        table = Table("path", *arches, box=None, pad_edge=False)
        for name, rows in self._shown(height):
            table.add_row(name, *(_cell(self._sum(rows, arch)) for arch in arches))
        return table

    @property
    def paths(self) -> list[str]:
        """The rows that are paths, in the order of HookPath."""
        paths = [row for row in self.rows if self.rows[row]]
        return sorted(paths, key=lambda path: _PATH_ORDER.get(path, len(_PATH_ORDER)))

    @property
    def others(self) -> list[str]:
        """The rows of tests without a path."""
        return sorted(row for row in self.rows if not self.rows[row])

    def _shown(self, height: int | None) -> list[tuple[str, list[str]]]:
        """Return the rows to show, each with the rows that it joins: paths, then the others."""
        if self.others and height is not None and len(self.rows) > height:
            return [*((path, [path]) for path in self.paths), ("other tests", self.others)]
        return [(row, [row]) for row in (*self.paths, *self.others)]

    def _sum(self, rows: Iterable[str], arch: str) -> Counter[Status]:
        total: Counter[Status] = Counter()
        for row in rows:
            total.update(self.counts.get((row, arch), {}))
        return total


def alike(cases: Iterable[Case]) -> list[list[Case]]:
    """Return the unexpected cases, those with one status and one cause together."""
    groups: dict[tuple[Status, str], list[Case]] = {}
    for case in cases:
        if not case.status.as_expected:
            groups.setdefault(kind(case), []).append(case)
    return list(groups.values())


def kind(case: Case) -> tuple[Status, str]:
    """Return what alike cases have in common. A case without a reason is like no other."""
    return case.status, cause_of(case.reason) or case.test


def failure(case: Case, more: int = 0) -> Text:
    """Return an unexpected case with all its evidence; `more` cases are like it."""
    text = Text(f"\n{case.status} {case.test}", style=_STYLES[case.status])
    text.append(_and_more(more))
    return text.append(f"\n{case.evidence or case.reason}", style="default")


def brief(case: Case) -> Text:
    """Return an unexpected case in one line."""
    text = Text(f"{case.status} {case.test}", style=_STYLES[case.status])
    return text.append(f": {case.reason}" if case.reason else "", style="default")


def reasons(groups: Sequence[Sequence[Case]]) -> Iterator[str]:
    """Yield the last lines on unexpected cases: how many, why, and where the evidence is."""
    yield "unexpected results, by reason:"
    for group in sorted(groups, key=len, reverse=True)[:_REASONS]:
        case = group[0]
        yield f"  {len(group)} {case.status}: {case.reason or 'no reason'}"
        yield f"    {case.test}{_and_more(len(group) - 1, '')}"
        lines = case.evidence.splitlines()
        yield from (f"    {line}" for line in lines if line.startswith(_POINTERS))
    if len(groups) > _REASONS:
        yield f"  {len(groups) - _REASONS} more reasons are in the files of the run"


def headline(cases: Collection[Case]) -> str:
    """Return one line that says whether there is something to do."""
    counts = Counter(case.status for case in cases if not case.status.as_expected)
    if not counts:
        return "all results are as expected" if cases else "no test ran"
    listed = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    noun = "result" if counts.total() == 1 else "results"
    return f"{counts.total()} unexpected {noun}: {listed}"


def summary(run: Run) -> str:
    """Return the last line: counts, and the duration of the run."""
    counts = [f"{run.count(status)} {status}" for status in Status if run.count(status)]
    seed = "" if run.seed is None else f", order of seed {run.seed}"
    return f"{', '.join(counts) or 'no test ran'} in {run.seconds:.1f} s{seed}"


def _environment_lines(run: Run) -> Iterator[str]:
    for env in run.environments:
        series = f" + {', '.join(env.series)}" if env.series else ""
        yield f"{env.arch}: {env.kernel} ({env.source}{series})"
        yield f"  flavour {env.flavour}, isolation {env.isolation}, QEMU {env.qemu},"
        yield f"  {env.accel} ({env.accel_reason})"
        if env.options:
            yield f"  {env.options}"


def _cell(counts: Counter[Status]) -> Text:
    text = Text()
    for status in Status:
        if counts[status]:
            text.append(f"{counts[status]} {status.lower()} ", style=_STYLES[status])
    return text


def _and_more(more: int, why: str = " for the same reason") -> str:
    return f" and {more} more{why}" if more else ""


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
