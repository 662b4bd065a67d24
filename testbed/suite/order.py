# SPDX-License-Identifier: GPL-2.0
"""The order of the tests, first things first, and the selection of `--quick`.

    1. what killed most mutants (killers.json)
    2. the quickest case of each guarantee, then of each guarantee on each path
    3. the quickest case of each sort that is untouched by then (orderdata.sort_of)
    4. the rest in an order from a seed. The paths of one scenario stay together, because they
       share the execution of their reference path
    5. cases marked `defect`: each ends the batch of its guest
    6. cases marked `last`

1 to 3 are the lead. `quick` takes as much of it as its time allows. The architectures alternate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import pytest

from testbed.cache import digest
from testbed.suite.item import arch_of, guarantees_of, parameters
from testbed.suite.orderdata import (
    Killers,
    Seconds,
    load_killers,
    load_seconds,
    sort_of,
    without_arch,
)

T = TypeVar("T")

# The time of `quick` for one architecture, in average cases. An average case costs 0.15 CPU seconds
# in batches: so both architectures take 36 s on two cores, and 10 s to start.
QUICK = 240.0

# A batch of its own costs as much as this many average cases, because it needs one more clone.
_BATCH = 5.0

# The shortest case costs this share of an average case: its modules are loaded and unloaded, too.
_LEAST = 0.25


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What the order depends on: one case, before it runs."""

    test: str  # pytest's node id
    arch: str = ""
    path: str = ""
    guarantees: tuple[int, ...] = ()
    scenario: str = ""  # of the oracle; its paths share a reference
    state: str = ""  # cases of one state may share a guest; empty: those of the same file
    is_defect: bool = False
    is_last: bool = False

    @property
    def home(self) -> str:
        """Cases of the same home may be in one batch."""
        return self.state or self.test.partition("::")[0]


# What a case touches, of one sort.
_Facets = Callable[[Candidate], Iterable[Hashable]]


@dataclass(frozen=True)
class Basis:
    """The data that the order is based on."""

    seconds: Seconds = field(default_factory=load_seconds)
    killers: Killers = field(default_factory=load_killers)

    def cost(self, case: Candidate) -> tuple[float, str]:
        """The key that sorts cases, quickest first. Equal ones come in an order of their own."""
        return self.seconds.of(case.test), digest(without_arch(case.test))


def candidate(item: pytest.Item, state: str = "") -> Candidate:
    """Return what the order depends on of a collected test."""
    values = parameters(item)
    return Candidate(
        test=item.nodeid,
        arch=arch_of(item),
        path=str(values.get("path", "")),
        guarantees=guarantees_of(item),
        scenario=str(values.get("scenario", "")),
        state=state,
        is_defect=item.get_closest_marker("defect") is not None,
        is_last=item.get_closest_marker("last") is not None,
    )


def arranged(
    items: Sequence[pytest.Item],
    *,
    first: Sequence[str] = (),
    seed: str = "",
    states: Callable[[pytest.Item], str] = lambda item: "",
    only_quick: bool = False,
) -> list[pytest.Item]:
    """Return collected tests in their order, or the selection of `quick`.

    Args:
        first: node ids of the tests that come before all others.
        states: `Candidate.state` of a test.
    """
    own = {item.nodeid: item for item in items}
    cases = [candidate(item, states(item)) for item in items]
    chosen = quick(cases) if only_quick else ordered(cases, seed=seed)
    places = {test: place for place, test in enumerate(first)}
    chosen.sort(key=lambda case: places.get(case.test, len(places)))
    return [own[case.test] for case in chosen]


def ordered(
    cases: Sequence[Candidate], *, seed: str = "", basis: Basis | None = None
) -> list[Candidate]:
    """Return all cases, first things first. Equal seeds give equal orders."""
    basis = basis or Basis()
    ordinary = [case for case in cases if not (case.is_defect or case.is_last)]
    lead = [_lead(own, basis) for own in _by_arch(ordinary)]
    taken = set(chain.from_iterable(lead))
    rest = [_shuffled(own, seed) for own in _by_arch([c for c in ordinary if c not in taken])]
    defects = [_shuffled(own, seed) for own in _by_arch([c for c in cases if c.is_defect])]
    ends = [case for case in cases if case.is_last and not case.is_defect]
    scenarios = chain.from_iterable((*_alternate(rest), *_alternate(defects)))
    return [*_alternate(lead), *scenarios, *ends]


def quick(
    cases: Sequence[Candidate], *, basis: Basis | None = None, budget: float = QUICK
) -> list[Candidate]:
    """Return the cases of a first answer: the lead, as far as the time allows.

    `budget` is the time for one architecture, in average cases.
    """
    basis = basis or Basis()
    ordinary = [case for case in cases if not (case.is_defect or case.is_last)]
    limit = budget * basis.seconds.mean
    return _alternate([_affordable(_lead(own, basis), basis, limit) for own in _by_arch(ordinary)])


def left_out(cases: Sequence[Candidate], chosen: Sequence[Candidate]) -> str:
    """Return one line on what a selection leaves out: cases, guarantees, and those on a path."""
    every, shown = _touched(cases), _touched(chosen)
    pairs = len(every - shown)
    guarantees = sorted({number for _, number, _ in every} - {number for _, number, _ in shown})
    names = f" ({', '.join(map(str, guarantees))})" if guarantees else ""
    return (
        f"quick: {len(chosen)} of {len(cases)} cases; untouched are {len(guarantees)} guarantees"
        f"{names}, and {pairs} of {len(every)} guarantees on a path of an architecture"
    )


def first_tenth(cases: Sequence[Candidate], seconds: Seconds, share: float = 0.1) -> float:
    """Return the share of all guarantees that is touched within the first tenth of the time."""
    limit = share * sum(seconds.of(case.test) for case in cases)
    spent, touched = 0.0, set[tuple[str, int]]()
    for case in cases:
        spent += seconds.of(case.test)
        if spent > limit:
            break
        touched.update((case.arch, number) for number in case.guarantees)
    return len(touched) / len({(c.arch, number) for c in cases for number in c.guarantees})


def _touched(cases: Iterable[Candidate]) -> set[tuple[str, int, str]]:
    return {(case.arch, number, case.path) for case in cases for number in case.guarantees}


def _lead(cases: Sequence[Candidate], basis: Basis) -> list[Candidate]:
    """Return the lead of the cases of one architecture."""
    places = {test: place for place, test in enumerate(basis.killers.kills)}
    known = [case for case in cases if without_arch(case.test) in places]
    lead = sorted(known, key=lambda case: places[without_arch(case.test)])
    facets: tuple[_Facets, ...] = (_numbers, _pairs, _sorts)
    for each in facets:
        homes = {case.home for case in lead}
        near = sorted(cases, key=lambda case: (case.home not in homes, *basis.cost(case)))
        lead += _new(near, lead, each)
    return lead


def _numbers(case: Candidate) -> Iterable[Hashable]:
    return case.guarantees


def _pairs(case: Candidate) -> Iterable[Hashable]:
    return [(number, case.path) for number in case.guarantees]


def _sorts(case: Candidate) -> Iterable[Hashable]:
    return [sort_of(case.test)]


def _new(
    cases: Iterable[Candidate],
    before: Iterable[Candidate],
    facets: _Facets,
) -> list[Candidate]:
    """Return those cases that show something that none before them shows."""
    seen = {facet for case in before for facet in facets(case)}
    found = []
    for case in cases:
        if not seen.issuperset(facets(case)):
            found.append(case)
            seen.update(facets(case))
    return found


def _affordable(lead: Iterable[Candidate], basis: Basis, limit: float) -> list[Candidate]:
    """Return those cases of a lead that fit into `limit` seconds, with the clones they need.

    A case that does not fit is left out, and a cheaper one may follow.
    """
    spent, homes, found = 0.0, set[str](), []
    for case in lead:
        more = max(basis.seconds.of(case.test), _LEAST * basis.seconds.mean)
        more += 0 if case.home in homes else _BATCH * basis.seconds.mean
        if spent + more <= limit:
            spent += more
            homes.add(case.home)
            found.append(case)
    return found


def _shuffled(cases: Sequence[Candidate], seed: str) -> list[list[Candidate]]:
    """Return the cases as scenarios, in an order from the seed. Other cases stand alone."""
    groups = defaultdict(list)
    for case in cases:
        alone = "" if case.scenario else case.test
        groups[case.test.partition("[")[0], case.scenario, alone].append(case)
    return [groups[key] for key in sorted(groups, key=lambda key: digest(seed, *key))]


def _by_arch(cases: Iterable[Candidate]) -> list[list[Candidate]]:
    found = defaultdict(list)
    for case in cases:
        found[case.arch].append(case)
    return list(found.values())


def _alternate(lists: Sequence[Sequence[T]]) -> list[T]:
    """Merge lists: the first of each, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [each[place] for place in range(longest) for each in lists if place < len(each)]
