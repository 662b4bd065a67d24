# SPDX-License-Identifier: GPL-2.0
"""A comparison of two runs as Markdown for people and JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from testbed.errors import InfraError
from testbed.report.diff import Change, Comparison, FactChange, Kind, Side
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS, EXIT_INFRA, row_of

JSON_FILE = "compare.json"
MARKDOWN_FILE = "compare.md"

# The hunks of a series that each test ran (testbed/coverage/).
Hunks = Mapping[str, Sequence[str]]
_NO_HUNKS: Hunks = {}

# The report shows this many facts of a group of tests; compare.json has all of them.
_SHOWN_FACTS = 6


def comparison_content(comparison: Comparison) -> dict[str, Any]:
    """Return the whole comparison as values that json.dumps() accepts."""
    return {
        "base": _side_values(comparison.base),
        "new": _side_values(comparison.new),
        "changes": [dataclasses.asdict(change) for change in comparison.changes],
        "times": [dataclasses.asdict(time) for time in times(comparison)],
    }


def write_comparison(folder: Path, comparison: Comparison, hunks: Hunks = _NO_HUNKS) -> None:
    """Write the comparison to compare.json and compare.md in `folder`."""
    content = json.dumps(comparison_content(comparison), indent=1)
    (folder / JSON_FILE).write_text(content + "\n")
    (folder / MARKDOWN_FILE).write_text("\n".join(markdown_lines(comparison, hunks)) + "\n")


def exit_status(comparison: Comparison) -> int:
    """0: no difference; 1: a difference; 3: the host failed, so that a side lacks cases."""
    sides = comparison.base.run.cases, comparison.new.run.cases
    if not any(sides) or any(case.raised(InfraError) for cases in sides for case in cases):
        return EXIT_INFRA
    return EXIT_FINDINGS if comparison.changes else EXIT_EXPECTED


def _side_values(side: Side) -> dict[str, Any]:
    environments = [dataclasses.asdict(each) for each in side.run.environments]
    return {"name": side.name, "run": side.run.name, "environments": environments}


@dataclass(frozen=True)
class Time:
    """Duration of the same work on both sides, in seconds."""

    what: str
    base: float
    new: float


def times(comparison: Comparison) -> list[Time]:
    """Return the build and test times of each architecture that both sides have.

    A cached kernel keeps the time of its first build. Test times count only tests that both sides
    have.
    """
    sides = (comparison.base, comparison.new)
    builds = [{env.arch: env.build_seconds for env in side.run.environments} for side in sides]
    both = set(comparison.base.cases) & set(comparison.new.cases)
    tests = [_test_seconds(side, both) for side in sides]
    return [
        Time(f"{arch}, {what}", round(base.get(arch, 0), 1), round(new.get(arch, 0), 1))
        for arch in sorted(set(builds[0]) & set(builds[1]))
        for what, (base, new) in (("build", builds), ("tests", tests))
    ]


def _test_seconds(side: Side, tests: set[str]) -> dict[str, float]:
    """Return the total seconds of `tests`, by architecture."""
    seconds: dict[str, float] = {}
    for case in side.run.cases:
        if case.test in tests:
            seconds[case.arch] = seconds.get(case.arch, 0) + case.seconds
    return seconds


def markdown_lines(comparison: Comparison, hunks: Hunks = _NO_HUNKS) -> Iterator[str]:
    """Yield the report in Markdown, fit for a terminal and for a mail.

    With `hunks` the table of places has a column: which of them the changed tests ran.
    """
    base, new = comparison.base, comparison.new
    yield f"# {base.name} | {new.name}"
    yield ""
    yield from _environment_lines(base, new)
    yield ""
    counts = Counter(change.kind for change in comparison.changes)
    both = len(set(base.cases) & set(new.cases))
    counted = ", ".join(f"{counts[kind]} {kind}" for kind in Kind if counts[kind])
    yield f"{both} tests on both sides: {counted or 'no differences'}."
    yield from _place_lines(comparison.changes, hunks)
    for kind in Kind:
        if counts[kind]:
            yield from ("", f"## {kind} ({counts[kind]})", "")
            yield from _group_lines(comparison.of(kind))
    yield from ("", "## Times", "", "| seconds | base | new |", "|---|---:|---:|")
    yield from (f"| {time.what} | {time.base} | {time.new} |" for time in times(comparison))


def _environment_lines(base: Side, new: Side) -> Iterator[str]:
    for title, side in (("base", base), ("new", new)):
        yield f"{title}: {side.name}"
        for env in side.run.environments:
            series = f" + {', '.join(env.series)}" if env.series else ""
            yield f"- {env.arch}: {env.kernel}, {env.flavour}, {env.accel}"
            yield f"  {env.source}{series}"


def _place_lines(changes: Sequence[Change], hunks: Hunks) -> Iterator[str]:
    """Yield a table with a column per architecture.

    Each row is a path, or a test file for tests without a path.
    """
    if not changes:
        return
    arches = sorted({change.arch for change in changes})
    rows = list(dict.fromkeys(row_of(change.test, change.path) for change in changes))
    heads = [*arches, "hunks run"] if hunks else arches
    yield from ("", f"| path | {' | '.join(heads)} |", f"|---{'|---' * len(heads)}|")
    for row in rows:
        cells = []
        for arch in arches:
            kinds = Counter(
                each.kind
                for each in changes
                if (row_of(each.test, each.path), each.arch) == (row, arch)
            )
            cells.append(", ".join(f"{kinds[kind]} {kind}" for kind in Kind if kinds[kind]))
        if hunks:
            tests = [each.test for each in changes if row_of(each.test, each.path) == row]
            cells.append(
                ", ".join(dict.fromkeys(name for test in tests for name in hunks.get(test, ())))
            )
        yield f"| {row} | {' | '.join(cells)} |"


def grouped(changes: Iterable[Change]) -> list[list[Change]]:
    """Return the changes; those of one test function with equal results stand together."""
    groups: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((_function(change), change.base, change.new), []).append(change)
    return list(groups.values())


def _group_lines(changes: Iterable[Change]) -> Iterator[str]:
    """Yield the changes; identical changes of one test function are listed once."""
    for alike in grouped(changes):
        first = alike[0]
        function, base, new = _function(first), first.base, first.new
        count = f" ({len(alike)} tests)" if len(alike) > 1 else ""
        yield f"- {function}: {base} -> {new}{count}" if base != new else f"- {function}{count}"
        yield f"  {places(alike)}"
        if len(alike) > 1:
            yield f"  for example {first.test.rpartition('::')[2]}"
        reasons = Counter(change.reason for change in alike if change.reason)
        for reason, _ in reasons.most_common(1):
            more = f", and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
            yield f"  {reason}{more}"
        yield from _fact_lines(first.facts)


def _function(change: Change) -> str:
    return PurePath(change.test.partition("[")[0]).name


def places(changes: Iterable[Change]) -> str:
    """Return the architectures and paths of changes, in words."""
    paths: dict[str, dict[str, None]] = {}
    for change in changes:
        paths.setdefault(change.arch, {})[change.path] = None
    parts = (f"{arch} {', '.join(filter(None, names))}".strip() for arch, names in paths.items())
    return "; ".join(parts)


def _fact_lines(facts: Sequence[FactChange]) -> Iterator[str]:
    """Yield both observations side by side, indented so that mail clients do not reflow them."""
    shown = facts[:_SHOWN_FACTS]
    if not shown:
        return
    rows = [("", "base", "new"), *((fact.where, fact.base, fact.new) for fact in shown)]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    yield ""
    for where, base, new in rows:
        yield f"      {where:{first}}  {base:{second}} | {new}"
    if len(facts) > len(shown):
        yield f"      and {len(facts) - len(shown)} more"
    yield ""
