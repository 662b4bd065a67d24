# SPDX-License-Identifier: GPL-2.0
"""The class of one test in one lane, by its outcomes in a window of cells. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.history.records import BAD, GOOD, Class, Signature
from testbed.results.model import Status

# A test whose outcome changed so often in the window is flaky.
FLIPS = 3

_OUTCOMES = BAD | GOOD


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a test in a cell that tried it more than once."""

    status: Status
    alone: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """The result of a test in one cell of the window."""

    cell: int
    content: str  # equal: the same experiment
    tonight: bool
    status: Status
    signature: Signature | None = None
    tries: tuple[Try, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it says something about the kernel."""
        return self.status in _OUTCOMES

    @property
    def is_bad(self) -> bool:
        return self.status in BAD


@dataclass(frozen=True)
class Standing:
    """What the window says about a test."""

    kind: Class
    now: Entry
    before: Entry | None  # the last outcome before the night
    bad: int
    total: int
    defect: str = ""


def standing(entries: Sequence[Entry]) -> Standing | None:
    """Return the class of a test; None if there is nothing to say.

    Args:
        entries: its results in the window, in the order of cells.
    """
    now = _tonight(entries)
    if now is None:
        return None
    outcomes = [entry for entry in entries if entry.counts]
    before = next((entry for entry in reversed(outcomes) if not entry.tonight), None)
    kind = Class.FLAKY if now.counts and is_flaky(outcomes) else _kind(now, before)
    if kind is None:
        return None
    samples = [status for entry in outcomes for status in _samples(entry)]
    bad = sum(status in BAD for status in samples)
    return Standing(kind, now, before, bad, len(samples), _defect(now, before))


def _tonight(entries: Iterable[Entry]) -> Entry | None:
    """Return the result of the night. Of several cells a bad result counts, else the last one."""
    found = [entry for entry in entries if entry.tonight]
    bad = [entry for entry in found if entry.is_bad]
    return next(reversed(bad or found), None)


def _kind(now: Entry, before: Entry | None) -> Class | None:
    if now.status is Status.MISS:
        return Class.INFRA
    if now.is_bad:
        if before is None or not before.is_bad:
            return Class.NEW
        return Class.STILL if now.signature == before.signature else Class.OTHERWISE
    if before is None or not now.counts:
        return None
    if before.is_bad:
        return Class.FIXED
    was_expected = before.status is Status.XFAIL and now.status is not Status.XFAIL
    return Class.FIXED if was_expected else None


def is_flaky(outcomes: Sequence[Entry]) -> bool:
    """Return whether outcomes differ though nothing else does, or change again and again.

    - Tries of one cell that were made alike, alone or after other tests, had both outcomes.
    - Cells of the same content had both outcomes.
    - The outcome changed three times.
    """
    seen: set[tuple[str, bool]] = set()
    for entry in outcomes:
        tried = {(each.alone, each.status in BAD) for each in entry.tries if _counts(each)}
        if len(tried) > len({alone for alone, _ in tried}):
            return True
        seen.add((entry.content, entry.is_bad))
    if len(seen) > len({content for content, _ in seen}):
        return True
    flips = sum(one.is_bad != other.is_bad for one, other in itertools.pairwise(outcomes))
    return flips >= FLIPS


def _counts(each: Try) -> bool:
    return each.status in _OUTCOMES


def _samples(entry: Entry) -> list[Status]:
    """The outcomes that one cell adds to n and m: of its tries, or its verdict."""
    return [each.status for each in entry.tries if _counts(each)] or [entry.status]


# A recorded defect leads the reason of an XFAIL, of a FIXED, and of a FAIL because it did not show
# (testbed/suite/verdict.py).
_DEFECT = re.compile(r"([\w-]+)(?::| did not show )")


def _defect(now: Entry, before: Entry | None) -> str:
    """Return the recorded defect that may be fixed, or that explains a failure from now on."""
    if before is None or before.status is not Status.XFAIL:
        return _named(now) if now.status in (Status.XFAIL, Status.FIXED) else ""
    name = _named(before)
    gone = now.status in (Status.PASS, Status.FIXED) or (now.is_bad and _named(now) == name)
    return name if gone else ""


def _named(entry: Entry) -> str:
    found = _DEFECT.match(entry.signature.title) if entry.signature else None
    return found[1] if found else ""
