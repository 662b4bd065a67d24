# SPDX-License-Identifier: GPL-2.0
"""Deadlines, which callers pass down so that nested waits share one budget."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock, and the budget in seconds that it came from."""

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return a deadline `seconds` from now."""
        return cls(time.monotonic() + seconds, seconds)

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
