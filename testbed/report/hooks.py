# SPDX-License-Identifier: GPL-2.0
"""The kernel's own hooks that the cases of a run have reached, and how.

The kernel's text says which hooks there are (testbed/inventory), and the tests say which of them
they reach. The table has every converted hook of a file, and what else a test has reached.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.files import DAMAGED, write_whole
from testbed.intree.unreached import by_recipes, unreached
from testbed.inventory.hook import Hook, hook_from
from testbed.mmap.path import HookPath
from testbed.report.text import table_row
from testbed.results.model import Case, Run, Status

REACH_FILE = "hooks.md"
HOOKS_FILE = "hooks.json"

# The hooks of files, to which all that is converted belongs or is nested in.
_STRUCT = "file_operations"

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
        known = unreached().get(self.hook.tree_name, "")
        if known or self.missed:
            return "; ".join(filter(None, (known, *self.missed)))
        if not self.ways and self.hook.tree_name in by_recipes():
            return f"by `testbed check --driver {by_recipes()[self.hook.tree_name]}`"
        return "" if self.ways else "no test in this run"

    @property
    def words(self) -> tuple[str, ...]:
        """How it was reached: `WAY (ARCHITECTURES)` each."""
        return tuple(f"{way} ({', '.join(arches)})" for way, arches in self.ways.items())


def reached(hooks: Iterable[Hook], cases: Iterable[Case]) -> list[Reach]:
    """Return the converted hooks of files, and those others that a case names, in their order."""
    known = list(cases)
    named = {words.partition(" by ")[0] for case in known for words in case.reaches}
    return [
        _reach(hook, known) for hook in hooks if _is_converted_file(hook) or hook.tree_name in named
    ]


def reached_ways(hooks: Iterable[Hook], cases: Iterable[Case]) -> dict[str, tuple[str, ...]]:
    """Return how hooks were reached, by their names in the tree."""
    return {each.hook.tree_name: each.words for each in reached(hooks, cases) if each.ways}


def reach_table(hooks: Iterable[Hook], run: Run) -> str:
    """Return the hooks as a Markdown table."""
    rows = (f"{table_row(_row(reach))}\n" for reach in reached(hooks, run.cases))
    return _HEAD + "".join(rows)


def reach_summary(hooks: Sequence[Hook], run: Run) -> str:
    """Return the summary, one line; empty if no test of the run is about the kernel's hooks."""
    if not hooks or not _is_about_hooks(run):
        return ""
    reaches = reached(hooks, run.cases)
    files = [reach for reach in reaches if _is_converted_file(reach.hook)]
    direct = sum(bool(reach.direct) for reach in files)
    stacked = sum(bool(reach.stacks) for reach in files)
    others = sum(bool(reach.ways) for reach in reaches) - sum(bool(each.ways) for each in files)
    more = f"; {others} that are not converted" if others else ""
    return (
        f"hooks of the kernel: {direct} of {len(files)} reached directly, "
        f"{stacked} below a stack{more} ({REACH_FILE})"
    )


def write_reach(folder: Path, run: Run, find_hooks: Callable[[], Sequence[Hook]]) -> None:
    """Write the table and its hooks into a run's folder, unless no test is about them.

    `find_hooks` returns the hooks of the kernel; empty if they are not known.
    """
    if not _is_about_hooks(run) or not (hooks := find_hooks()):
        return
    (folder / REACH_FILE).write_text(reach_table(hooks, run))
    shown = [dataclasses.asdict(reach.hook) for reach in reached(hooks, run.cases)]
    write_whole(folder / HOOKS_FILE, json.dumps(shown, indent=1) + "\n")


def read_hooks(folder: Path) -> tuple[Hook, ...]:
    """Return the hooks of the table in a run's folder; empty if it has none."""
    try:
        return tuple(map(hook_from, json.loads((folder / HOOKS_FILE).read_text())))
    except DAMAGED:
        return ()


def _is_about_hooks(run: Run) -> bool:
    return any(case.reaches for case in run.cases)


def _is_converted_file(hook: Hook) -> bool:
    return hook.struct == _STRUCT and hook.converted and not hook.null


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
        if name == hook.tree_name:
            yield way


def _row(reach: Reach) -> Iterator[str]:
    hook = reach.hook
    yield from (hook.name, f"`{hook.function}`", hook.file, ", ".join(reach.direct))
    yield "; ".join(f"{way} ({', '.join(arches)})" for way, arches in reach.stacks.items())
    yield reach.why_not
