# SPDX-License-Identifier: GPL-2.0
"""Observations of one test beside each other, with the places in which they differ marked.

The same scenario has other step numbers on each path, and a stack logs more hooks than the direct
path. Steps are matched by their operation and its turn, records of a hook log by their names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from testbed.mmap.kernelfacts import kernel_facts
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath

# Steps that differ between paths on purpose, or that show the machine.
_SETUP = frozenset({"open", "lower", "plan", "replacement", "env", "clearlog", "reset", "counts"})

_PLACE = re.compile(r"(\d+) (\w+)( in the child)?( round \d+)?(.*)", re.S)
_EVENT = re.compile(r"\.(\d+)(?: (\w+)(.*))?", re.S)

ABSENT = "\u2013"


@dataclass(frozen=True)
class Row:
    """One fact of a step, in each observation."""

    where: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Step:
    """One step of the scripts, with all its facts."""

    line: str  # of the script
    rows: tuple[Row, ...]

    @property
    def different(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.differs)

    @property
    def equal(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.differs)


_Key = tuple[str, int, str]  # operation, its turn among the steps with it, child and round


def side_by_side(observations: Sequence[Observation]) -> tuple[Step, ...]:
    """Return the steps of several observations, in order, without those that make them ready."""
    sides = [_steps(each) for each in observations]
    keys = dict.fromkeys(key for side in sides for key in side)
    steps = (_step(key, [side.get(key, {}) for side in sides], observations) for key in keys)
    return tuple(step for step in steps if step.rows)


def label(observation: Observation, number: int) -> str:
    """Return the path that a script maps through, or its number if it opens no known path."""
    opened = re.findall(r"^open \S+ /dev/(mmap_\w+)", observation.script, re.M)
    for path in HookPath:
        if opened == list(reversed(path.shape.nodes)):
            return str(path)
    return f"script {number}"


def _steps(observation: Observation) -> dict[_Key, dict[str, str]]:
    turns = _turns(observation.script)
    found: dict[_Key, dict[str, str]] = {}
    for place, value in kernel_facts(observation).items():
        match = _PLACE.fullmatch(place)
        assert match is not None, place
        step, op, child, turn, where = match.groups()
        if op not in _SETUP:
            key = op, turns[int(step)], f"{child or ''}{turn or ''}"
            found.setdefault(key, {})[where] = value
    return found


def _turns(script: str) -> dict[int, int]:
    """Return, for the number of each step, how many earlier ones have its operation."""
    seen: Counter[str] = Counter()
    turns = {}
    for number, line in enumerate(script.splitlines(), 1):
        op = line.partition(" ")[0]
        turns[number] = seen[op]
        seen[op] += 1
    return turns


def _step(
    key: _Key, facts: Sequence[Mapping[str, str]], observations: Sequence[Observation]
) -> Step:
    op, turn, more = key
    lines = (_line(each.script, op, turn) for each in reversed(observations))
    line = next(filter(None, lines), op)
    rows = _hooklog(facts) if op == "hooklog" else _plain(facts)
    return Step(f"{line}{more}", tuple(rows))


def _line(script: str, op: str, turn: int) -> str:
    lines = [line for line in script.splitlines() if line.partition(" ")[0] == op]
    return lines[turn] if turn < len(lines) else ""


def _plain(facts: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    for where in dict.fromkeys(where for each in facts for where in each):
        yield Row(where.lstrip("."), tuple(each.get(where, ABSENT) for each in facts))


def _hooklog(facts: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    """Yield the records of hook logs; those of the same hook stand in one row."""
    logs = [_events(each) for each in facts]
    for places in _aligned([[name for name, _ in log] for log in logs]):
        events = [log[at] if at is not None else None for log, at in zip(logs, places, strict=True)]
        name = next(event[0] for event in events if event is not None)
        yield Row(name, tuple(ABSENT if event is None else "called" for event in events))
        # A hook that one side alone has called differs as a whole.
        fields = [event[1] for event in events if event is not None]
        if len(fields) == len(events):
            yield from (Row(f"{name}.{row.where}", row.values) for row in _plain(fields))


def _events(facts: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    events: dict[int, tuple[str, dict[str, str]]] = {}
    for where, value in facts.items():
        if (match := _EVENT.fullmatch(where)) is None:
            continue
        number, name, rest = match.groups()
        if name is None:
            events[int(number)] = (value, {})
        else:
            events[int(number)][1][rest] = value
    return [events[number] for number in sorted(events)]


def _aligned(names: Sequence[Sequence[str]]) -> Iterator[tuple[int | None, ...]]:
    """Yield the places of equal names in two lists; of any other number, by their numbers."""
    if len(names) != 2:
        for at in range(max(map(len, names), default=0)):
            yield tuple(at if at < len(each) else None for each in names)
        return
    matcher = SequenceMatcher(None, names[0], names[1], autojunk=False)
    for tag, a, a_end, b, b_end in matcher.get_opcodes():
        if tag == "equal":
            yield from ((one, one - a + b) for one in range(a, a_end))
        else:
            yield from ((one, None) for one in range(a, a_end))
            yield from ((None, one) for one in range(b, b_end))
