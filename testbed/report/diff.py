"""Two runs of the same tests side by side: what one kernel does and the other does not. Pure."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from testbed.results.model import Case, Facts, Run, Status

# Of the facts of one group of tests so many are shown; compare.json has them all.
_SHOWN_FACTS = 6

_GOOD = frozenset({Status.PASS, Status.FIXED})

# What is another number on each boot, or in each build.
_UNSTEADY = re.compile(r"0x[0-9a-f]{4,}|-testbed-[0-9a-f]{16}|\bpid[= ]\d+|vm-[\w-]+-\d+")

ABSENT = "-"


class Kind(StrEnum):
    """What has become of a test."""

    BROKEN = "broken"  # it was good
    OTHERWISE = "fails otherwise"  # it was not good, and is not so in another way
    FIXED = "fixed"
    GONE = "gone"  # it ran, and does not any more: the reason is its skip's
    NEW = "new"  # it did not run before
    FACTS = "changed facts"  # it ends as it did, and saw something else


@dataclass(frozen=True)
class FactChange:
    """One place in which two observations of the same script differ."""

    where: str
    base: str
    new: str


@dataclass(frozen=True)
class Change:
    """One test that is not the same on both sides. A status of `-` is that of no such test."""

    kind: Kind
    test: str
    arch: str
    path: str
    base: str
    new: str
    reason: str  # in one line: of the failure or the skip, of the new side if it has one
    facts: tuple[FactChange, ...] = ()


@dataclass(frozen=True)
class Side:
    """One of the two runs, and by what name it was asked for."""

    name: str
    run: Run
    facts: Facts = field(default_factory=dict)

    @property
    def cases(self) -> dict[str, Case]:
        return {case.test: case for case in self.run.cases}


@dataclass(frozen=True)
class Comparison:
    """All that differs between two sides; no change at all where the kernels are equal."""

    base: Side
    new: Side
    changes: tuple[Change, ...]

    def of(self, kind: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind is kind]


def compare(base: Side, new: Side) -> Comparison:
    """What differs. Skipped on both sides is no difference, and neither is any time."""
    before, after = base.cases, new.cases
    tests = dict.fromkeys((*before, *after))
    changes = (
        _change(before.get(test), after.get(test), _test_changes(test, base.facts, new.facts))
        for test in tests
    )
    found = [change for change in changes if change is not None]
    order = list(Kind)
    return Comparison(base, new, tuple(sorted(found, key=lambda each: order.index(each.kind))))


def _change(
    before: Case | None, after: Case | None, facts: tuple[FactChange, ...]
) -> Change | None:
    kind = _kind(before, after, facts)
    case = after or before
    if kind is None or case is None:
        return None
    reasons = (side.reason for side in (after, before) if side is not None and side.reason)
    return Change(
        kind=kind,
        test=case.test,
        arch=case.arch,
        path=case.path,
        base=before.status if before else ABSENT,
        new=after.status if after else ABSENT,
        reason=next(reasons, ""),
        facts=facts,
    )


def _kind(before: Case | None, after: Case | None, facts: tuple[FactChange, ...]) -> Kind | None:
    ran, runs = (case is not None and case.status is not Status.SKIP for case in (before, after))
    if not (ran and runs):
        return Kind.GONE if ran else Kind.NEW if runs else None
    assert before is not None
    assert after is not None
    was_good, is_good = (case.status in _GOOD for case in (before, after))
    if was_good != is_good:
        return Kind.BROKEN if was_good else Kind.FIXED
    if not is_good and _headline(before) != _headline(after):
        return Kind.OTHERWISE
    return Kind.FACTS if facts else None


def _headline(case: Case) -> tuple[Status, str]:
    return case.status, _UNSTEADY.sub("...", case.reason)


def _test_changes(test: str, base: Facts, new: Facts) -> tuple[FactChange, ...]:
    """Differences between the observations of those scripts that ran on both sides."""
    before, after = base.get(test, {}), new.get(test, {})
    return tuple(
        change
        for script in before
        if script in after
        for change in fact_changes(before[script], after[script])
    )


def fact_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FactChange]:
    """The facts that differ, in the order in which they were seen."""
    for where in dict.fromkeys((*before, *after)):
        old, new = before.get(where, ABSENT), after.get(where, ABSENT)
        if old != new:
            yield FactChange(where, old, new)


def to_json(comparison: Comparison) -> str:
    """All of it, for programs."""
    content = {
        "base": _side_values(comparison.base),
        "new": _side_values(comparison.new),
        "changes": [dataclasses.asdict(change) for change in comparison.changes],
        "times": [dataclasses.asdict(time) for time in times(comparison)],
    }
    return json.dumps(content, indent=1) + "\n"


def _side_values(side: Side) -> dict[str, Any]:
    environments = [dataclasses.asdict(each) for each in side.run.environments]
    return {"name": side.name, "run": side.run.name, "environments": environments}


@dataclass(frozen=True)
class Time:
    """How long the same work took on both sides, in seconds."""

    what: str
    base: float
    new: float


def times(comparison: Comparison) -> list[Time]:
    """Of each kernel's build, when it was built, and of the tests that ran on both sides."""
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
    """By architecture."""
    seconds: dict[str, float] = {}
    for case in side.run.cases:
        if case.test in tests:
            seconds[case.arch] = seconds.get(case.arch, 0) + case.seconds
    return seconds


def markdown_lines(comparison: Comparison) -> Iterator[str]:
    """For people, on a terminal and in a mail."""
    base, new = comparison.base, comparison.new
    yield f"# {base.name} | {new.name}"
    yield ""
    yield from _environment_lines(base, new)
    yield ""
    counts = Counter(change.kind for change in comparison.changes)
    both = len(set(base.cases) & set(new.cases))
    told = ", ".join(f"{counts[kind]} {kind}" for kind in Kind if counts[kind])
    yield f"Of {both} tests on both: {told or 'nothing differs'}."
    yield from _place_lines(comparison.changes)
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


def _place_lines(changes: Sequence[Change]) -> Iterator[str]:
    """Paths, and files of tests that have none, by architecture."""
    if not changes:
        return
    arches = sorted({change.arch for change in changes})
    rows = list(dict.fromkeys(_place(change) for change in changes))
    yield from ("", f"| path | {' | '.join(arches)} |", f"|---{'|---' * len(arches)}|")
    for row in rows:
        cells = []
        for arch in arches:
            kinds = Counter(
                each.kind for each in changes if (_place(each), each.arch) == (row, arch)
            )
            cells.append(", ".join(f"{kinds[kind]} {kind}" for kind in Kind if kinds[kind]))
        yield f"| {row} | {' | '.join(cells)} |"


def _place(change: Change) -> str:
    return change.path or PurePath(change.test.partition("::")[0]).stem.removeprefix("test_")


def _group_lines(changes: Iterable[Change]) -> Iterator[str]:
    """Tests of one function that became the same are told once."""
    groups: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((_function(change), change.base, change.new), []).append(change)
    for (function, base, new), alike in groups.items():
        first = alike[0]
        count = f" ({len(alike)} tests)" if len(alike) > 1 else ""
        yield f"- {function}: {base} -> {new}{count}" if base != new else f"- {function}{count}"
        yield f"  {_places(alike)}"
        if len(alike) > 1:
            yield f"  such as {first.test.rpartition('::')[2]}"
        reasons = Counter(change.reason for change in alike if change.reason)
        for reason, _ in reasons.most_common(1):
            more = f", and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
            yield f"  {reason}{more}"
        yield from _fact_lines(first.facts)


def _function(change: Change) -> str:
    return PurePath(change.test.partition("[")[0]).name


def _places(changes: Sequence[Change]) -> str:
    paths: dict[str, dict[str, None]] = {}
    for change in changes:
        paths.setdefault(change.arch, {})[change.path] = None
    told = (f"{arch} {', '.join(filter(None, names))}".strip() for arch, names in paths.items())
    return "; ".join(told)


def _fact_lines(facts: Sequence[FactChange]) -> Iterator[str]:
    """Both observations side by side, in a block that a mail keeps as it is."""
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
