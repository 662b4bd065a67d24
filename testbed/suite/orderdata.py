# SPDX-License-Identifier: GPL-2.0
"""What the order of the tests is based on: seconds of tests, and the cases that kill most mutants.

Both are shipped as data beside this file. `scripts/seconds` remakes the seconds from runs, and
`testbed mutants --write-order` the cases that kill.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.arch import ARCHES
from testbed.errors import SetupError
from testbed.files import write_whole
from testbed.results.model import Case, Status

SECONDS_FILE = Path(__file__).with_name("seconds.json")
KILLERS_FILE = Path(__file__).with_name("killers.json")

# Stands for the architecture in a case that is named without one.
_ANY = "ARCH"

_ARCH = re.compile(rf"(?<=[\[-])(?:{'|'.join(ARCHES)})(?=[-\]])")

# The tests whose cases differ so much that the kind of scenario counts, the first word of its name.
_ORACLE = re.compile(rf"test_oracle\.py::\w+\[(?:{'|'.join(ARCHES)}|{_ANY})-(\w+)")


def without_arch(test: str) -> str:
    """Return the node id of a case with a placeholder for its architecture."""
    return _ARCH.sub(_ANY, test, count=1)


def sort_of(test: str) -> str:
    """Return the sort of a case: its test function, and for the oracle the kind of scenario too.

    The cases of one sort take similar time, and find similar failures.
    """
    kind = _ORACLE.search(test)
    return test.partition("[")[0] + (f"[{kind[1]}]" if kind else "")


@dataclass(frozen=True)
class Seconds:
    """The seconds that a case of each sort took, in the runs that the data was made from."""

    known: Mapping[str, float] = field(default_factory=dict)
    mean: float = 1.0  # of all cases of those runs

    def of(self, test: str) -> float:
        """Return the seconds of a case; those of an average case if its sort is unknown."""
        return self.known.get(sort_of(test), self.mean)


@dataclass(frozen=True)
class Killers:
    """The cases that kill the mutations of a campaign, without architecture, best first."""

    source: str = ""  # the campaign, in one line
    kills: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # mutations, by case


def measured(cases: Iterable[Case]) -> Seconds:
    """Return the median seconds of each sort of cases. Skipped cases do not count."""
    found = defaultdict(list)
    for case in cases:
        if case.status is not Status.SKIP:
            found[sort_of(case.test)].append(case.seconds)
    every = [seconds for values in found.values() for seconds in values]
    if not every:
        raise SetupError("no case of these runs was run")
    known = {sort: round(statistics.median(found[sort]), 2) for sort in sorted(found)}
    return Seconds(known, round(statistics.fmean(every), 3))


def chosen_killers(killed_by: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the fewest cases, nearly, that kill all mutations: each the one that kills most of
    what is left (the greedy order of a set cover).

    `killed_by` are pairs of a case and a mutation that it killed, on any architecture.
    """
    kills = defaultdict(set)
    for test, mutation in killed_by:
        kills[without_arch(test)].add(mutation)
    chosen: dict[str, tuple[str, ...]] = {}
    left = set().union(*kills.values())
    while left:
        best = min(kills, key=lambda test: (-len(kills[test] & left), test))
        chosen[best] = tuple(sorted(kills[best] & left))
        left -= kills[best]
    return chosen


def load_seconds(file: Path = SECONDS_FILE) -> Seconds:
    """Return the shipped seconds. Raises SetupError."""
    with _reading(file) as content:
        known = {str(sort): float(seconds) for sort, seconds in content["seconds"].items()}
        return Seconds(known, float(content["mean"]))


def load_killers(file: Path = KILLERS_FILE) -> Killers:
    """Return the shipped cases that kill most mutants. Raises SetupError."""
    with _reading(file) as content:
        kills = {str(test): tuple(mutations) for test, mutations in content["kills"].items()}
        return Killers(str(content["source"]), kills)


def write_seconds(seconds: Seconds, source: str, file: Path = SECONDS_FILE) -> None:
    """Write the seconds atomically. `source` names the runs that they are from."""
    _write(file, {"source": source, "mean": seconds.mean, "seconds": seconds.known})


def write_killers(killers: Killers, file: Path = KILLERS_FILE) -> None:
    """Write the cases that kill atomically."""
    _write(file, {"source": killers.source, "kills": killers.kills})


@contextmanager
def _reading(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the content of a data file. Errors in the block name the file."""
    try:
        yield json.loads(file.read_text())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        hint = f"git checkout {file}"
        raise SetupError(f"{file} cannot be read: {exc!r}", hint=hint) from exc


def _write(file: Path, content: Mapping[str, object]) -> None:
    """Write one line for each test, so that a change shows as few lines."""
    lines = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{rows}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    write_whole(file, "{\n" + ",\n".join(lines) + "\n}\n")
