# SPDX-License-Identifier: GPL-2.0
"""A point in time that is handed down, so that nested waits share one budget."""

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
        """Expire `seconds` from now."""
        return cls(time.monotonic() + seconds, seconds)

    @property
    def remaining(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        return self.remaining == 0.0

    def capped(self, seconds: float) -> Deadline:
        """This deadline, or `seconds` from now when that is sooner."""
        other = Deadline.after(seconds)
        return other if other.at < self.at else self

    def __str__(self) -> str:
        return f"{self.budget:g} s"
