# SPDX-License-Identifier: GPL-2.0
"""Deadlines, which callers pass down so that nested waits share one budget."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

# Rounds of an empty loop, and the seconds that they take on a host that counts as usual.
_ROUNDS = 20_000
_USUAL = 0.0016
_TRIES = 5


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock, and the budget in seconds that it came from."""

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return a deadline `seconds` from now."""
        return cls(time.monotonic() + seconds, seconds)

    @classmethod
    def for_host(cls, seconds: float) -> Deadline:
        """Return a deadline for work that takes a usual host at most `seconds`."""
        return cls.after(seconds * host_slowness())

    @property
    def remaining(self) -> float:
        """The seconds that are left, never below 0."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        return self.remaining == 0.0

    def capped(self, seconds: float) -> Deadline:
        """Return this deadline, or one `seconds` from now if that is sooner."""
        other = Deadline.after(seconds)
        return other if other.at < self.at else self

    def __str__(self) -> str:
        return f"{self.budget:g} s"


@functools.cache
def host_slowness() -> float:
    """Return how many times slower this host is than a usual one, at least 1.

    An emulated host is some 10 times slower. The quickest of several tries counts: other work on
    the host should not.
    """
    return max(1.0, round(min(_loop_seconds() for _ in range(_TRIES)) / _USUAL, 1))


def _loop_seconds() -> float:
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        pass
    return time.perf_counter() - began
