# SPDX-License-Identifier: GPL-2.0
"""What is equal is shown once: complaints and differences in groups, with their trials. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from testbed.report.diff import FactChange

# `12 map m FILE len=4p:.vmas[0].vmflags`: a step's number and words, and the name of a fact.
_WHERE = re.compile(r"(?:\d+ (\w+)[^:]*:)?(\.?[\w.\[\]]+)")
_PLACE = re.compile(r"^\d+ (\w+)[^:]*:(?=\.)")
_INDEX = re.compile(r"\[\d+\]")

# Numbers that differ between trials for one reason.
_NUMBERS = re.compile(r"other:0x[0-9a-f]+|\b\d+ more\b|allocation \d+|(?<= is )-?\d+(?=, was )")

# A group lists at most this many trials.
_TRIALS = 4

Place = tuple[str, str]  # trial and path


@dataclass
class Alike:
    """Equal complaints or differences of several trials."""

    example: FactChange | str
    places: list[Place] = field(default_factory=list)

    @property
    def where(self) -> str:
        """The trials and paths, with the number of times if they are several."""
        paths = dict.fromkeys(path for _, path in self.places)
        trials = list(dict.fromkeys(trial for trial, _ in self.places))
        shown = ", ".join(trials[:_TRIALS])
        if len(trials) > _TRIALS:
            shown += f" and {len(trials) - _TRIALS} more"
        times = f"{len(self.places)} times: " if len(self.places) > 1 else ""
        return f"{times}{shown} on {', '.join(paths)}"


def alike_complaints(found: Iterable[tuple[str, Place]]) -> list[Alike]:
    """Put complaints into groups, in the order of the first of each."""
    groups: dict[str, Alike] = {}
    for complaint, place in found:
        kind = _NUMBERS.sub("N", _PLACE.sub(r"\1 ", complaint))
        groups.setdefault(_INDEX.sub("[]", kind), Alike(complaint)).places.append(place)
    return list(groups.values())


def telling(changes: Sequence[FactChange]) -> Iterator[FactChange]:
    """Leave out what another change of the same fact says better: a number, a signal's code."""
    known = {change.where for change in changes}
    for change in changes:
        where, _, name = change.where.rpartition(".")
        better = {"errno": "error", "code": "result", "fault_addr": "result", "flags": "vmflags"}
        if f"{where}.{better.get(name)}" not in known:
            yield change


def alike_changes(found: Iterable[tuple[FactChange, Place]]) -> list[Alike]:
    """Put changes of facts into groups: the same fact of a step changed in the same way."""
    groups: dict[tuple[str, ...], Alike] = {}
    for change, place in found:
        groups.setdefault(change_kind(change), Alike(change)).places.append(place)
    return list(groups.values())


def first_of_each(changes: Sequence[FactChange]) -> list[tuple[FactChange, int]]:
    """Return one change of each group, and the number of the others in it."""
    groups = alike_changes((change, ("", "")) for change in changes)
    return [(_change(group), len(group.places) - 1) for group in groups]


def collapsed(message: str) -> str:
    """Show equal parts of a message, such as the titles of splats, once with their number."""
    parts = message.split("; ")
    shown = []
    for part in dict.fromkeys(parts):
        count = parts.count(part)
        shown.append(f"{part} ({count} times)" if count > 1 else part)
    return "; ".join(shown)


def _change(group: Alike) -> FactChange:
    assert isinstance(group.example, FactChange)
    return group.example


def change_kind(change: FactChange) -> tuple[str, ...]:
    """Return what equal changes of one fact of a step have in common."""
    match = _WHERE.match(change.where)
    where = (match[1] or "", _INDEX.sub("[]", match[2])) if match else (change.where,)
    return (*where, *_delta(change))


def _delta(change: FactChange) -> Iterator[str]:
    """Yield how a value changed: of flags, those that are gone and those that are new."""
    if change.where.endswith(".vmflags"):
        old, new = {*change.base.split()}, {*change.new.split()}
        yield f"-{sorted(old - new)}"
        yield f"+{sorted(new - old)}"
    elif change.where.endswith(".flags"):
        yield _flipped(change)
    else:
        yield change.base
        yield change.new


def _flipped(change: FactChange) -> str:
    try:
        return hex(int(change.base, 0) ^ int(change.new, 0))
    except ValueError:
        return f"{change.base} {change.new}"
