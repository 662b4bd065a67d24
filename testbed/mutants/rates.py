# SPDX-License-Identifier: GPL-2.0
"""How many mutations the suite kills: per file, with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from testbed.mutants.mutation import Fate, Mutation, Outcome
from testbed.report.text import table_head, table_row

# Of a normal distribution: 95 of 100 values lie within so many standard deviations.
_DEVIATIONS = 1.96

# Such outcomes say nothing about the tests.
_UNCOUNTED = frozenset({Fate.EQUIVALENT, Fate.ABSENT, Fate.BUILD, Fate.UNKNOWN})


@dataclass(frozen=True)
class Rate:
    """So many of a number of tries succeeded."""

    count: int
    tries: int

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the rate, at 95 percent (Wilson's score); 0 to 1 without a try."""
        if not self.tries:
            return 0.0, 1.0
        n, part, square = self.tries, self.count / self.tries, _DEVIATIONS**2
        middle = part + square / (2 * n)
        width = _DEVIATIONS * math.sqrt(part * (1 - part) / n + square / (4 * n * n))
        low, high = ((middle + sign * width) / (1 + square / n) for sign in (-1, 1))
        return max(0.0, low), min(1.0, high)

    def __str__(self) -> str:
        if not self.tries:
            return "-"
        low, high = (round(100 * bound) for bound in self.interval)
        return f"{self.count} of {self.tries} ({low} to {high} %)"


@dataclass(frozen=True)
class Rates:
    """The two judgements on the same mutations."""

    suite: Rate  # killed by the suite alone
    facts: Rate  # killed by the suite, or seen by the facts beside the good kernel's


def rates_of(outcomes: Iterable[Outcome]) -> Rates:
    """Return the rates of outcomes. A mutation that no test can notice does not count."""
    tried = [each for each in outcomes if each.fate not in _UNCOUNTED]
    # A kernel that does not boot is noticed, whatever the tests are.
    killed = sum(each.fate is not Fate.SURVIVED for each in tried)
    differing = sum(each.fate is Fate.SURVIVED and bool(each.facts) for each in tried)
    return Rates(Rate(killed, len(tried)), Rate(killed + differing, len(tried)))


def rate_lines(mutations: Sequence[Mutation], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a table: a row for each file that mutations change, and one for all."""
    files = {each.name: ", ".join(each.files) or "semantic" for each in mutations}
    yield from table_head("file", "killed by the suite", "with facts", "survived, facts are equal")
    for file in sorted(set(files.values())):
        yield _row(file, [each for each in outcomes if files.get(each.mutation) == file])
    yield _row("all", list(outcomes))


def _row(title: str, outcomes: Sequence[Outcome]) -> str:
    rates = rates_of(outcomes)
    unseen = [f"{each.mutation} ({each.arch})" for each in outcomes if _is_unseen(each)]
    return table_row([title, rates.suite, rates.facts, ", ".join(unseen)])


def _is_unseen(outcome: Outcome) -> bool:
    return outcome.fate is Fate.SURVIVED and not outcome.facts
