# SPDX-License-Identifier: GPL-2.0
"""The kernel's mmap_prepare hooks that the cases of a run have reached, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.intree.hooks import HOOKS, Hook
from testbed.mmap.path import HookPath
from testbed.report.text import table_row
from testbed.results.model import Case, Run, Status

REACH_FILE = "hooks.md"

_HEAD = """\
# The kernel's mmap_prepare hooks, and how this run reached them

| hook | function | file | directly | below a stack | why not |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Reach:
    """How the tests of a run have reached one hook. Only tests that passed count."""

    hook: Hook
    ways: Mapping[str, tuple[str, ...]]  # architectures, by path or by name of a stack
    missed: tuple[str, ...]  # statuses and reasons of cases that should have reached it

    @property
    def direct(self) -> tuple[str, ...]:
        """The architectures on which a test reached it without a stack."""
        return self.ways.get(HookPath.DIRECT, ())

    @property
    def stacks(self) -> dict[str, tuple[str, ...]]:
        return {way: arches for way, arches in self.ways.items() if way != HookPath.DIRECT}

    @property
    def why_not(self) -> str:
        if self.hook.why_not or self.missed:
            return "; ".join(filter(None, (self.hook.why_not, *self.missed)))
        return "" if self.ways else "no test in this run"


def reached(cases: Iterable[Case]) -> list[Reach]:
    """Return all hooks, in the order of their table."""
    known = list(cases)
    return [_reach(hook, known) for hook in HOOKS]


def reach_table(run: Run) -> str:
    """Return the hooks as a Markdown table."""
    return _HEAD + "".join(f"{table_row(_row(reach))}\n" for reach in reached(run.cases))


def reach_summary(run: Run) -> str:
    """Return the summary, one line; empty if no test of the run is about the kernel's hooks."""
    if not any(case.reaches for case in run.cases):
        return ""
    reaches = reached(run.cases)
    direct = sum(bool(reach.direct) for reach in reaches)
    stacked = sum(bool(reach.stacks) for reach in reaches)
    return (
        f"hooks of the kernel: {direct} of {len(reaches)} reached directly, "
        f"{stacked} below a stack ({REACH_FILE})"
    )


def write_reach(folder: Path, run: Run) -> None:
    """Write the table into a run's folder, unless no test is about the kernel's hooks."""
    if reach_summary(run):
        (folder / REACH_FILE).write_text(reach_table(run))


def _reach(hook: Hook, cases: list[Case]) -> Reach:
    ways: dict[str, set[str]] = {}
    missed = []
    for case in cases:
        for way in _ways(hook, case):
            if case.status is Status.PASS:
                ways.setdefault(way, set()).add(case.arch)
            elif case.status is not Status.XFAIL:
                missed.append(f"{case.arch}: {case.status} {case.reason}")
    found = {way: tuple(sorted(arches)) for way, arches in ways.items()}
    return Reach(hook, found, tuple(dict.fromkeys(missed)))


def _ways(hook: Hook, case: Case) -> Iterator[str]:
    for words in case.reaches:
        name, _, way = words.partition(" by ")
        if name == hook.name:
            yield way


def _row(reach: Reach) -> Iterator[str]:
    hook = reach.hook
    yield from (hook.name, f"`{hook.function}`", hook.file, ", ".join(reach.direct))
    yield "; ".join(f"{way} ({', '.join(arches)})" for way, arches in reach.stacks.items())
    yield reach.why_not
