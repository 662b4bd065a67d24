# SPDX-License-Identifier: GPL-2.0
"""The remaining time of a step: what was expected, corrected by its pace so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# The expectation counts as much as the pace does after this share of the work.
_TRUST = 0.25

# Without an expectation, the pace counts only after so many seconds.
_TOO_SOON = 5.0

# From here on, minutes are exact enough.
_MINUTES = 120.0

# Less than this is not worth a word; above, seconds are rounded up to a multiple of it.
_SECONDS = 10


@dataclass
class Remaining:
    """Follows one step from its start on."""

    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _first: float | None = None  # the amount that was done when the step began
    _whole: float | None = None  # seconds that the whole amount is expected to take
    _end: float | None = None  # on the clock

    def __post_init__(self) -> None:
        self._started = self.clock()

    def update(self, done: float, total: float | None, seconds: float | None = None) -> None:
        """Note that `done` of `total` is done.

        `seconds` is the expected time for `total`; once given, it stays.
        """
        self._first = done if self._first is None else self._first
        self._whole = seconds if seconds is not None else self._whole
        self._end = None
        if total and total > self._first:
            left = self._left(done, total)
            self._end = None if left is None else self.clock() + left

    def __str__(self) -> str:
        """Return words for a user, such as "about 4 min left"; empty if unknown or short."""
        if self._end is None:
            return ""
        left = self._end - self.clock()
        if left >= _MINUTES:
            return f"about {left / 60:.0f} min left"
        return f"about {_SECONDS * math.ceil(left / _SECONDS)} s left" if left >= _SECONDS else ""

    def _left(self, done: float, total: float) -> float | None:
        """Return the seconds that are left, or None if nothing is known."""
        first = self._first or 0.0
        share = min(1.0, (done - first) / (total - first))
        elapsed = self.clock() - self._started
        if self._whole is not None:
            expected = self._whole * (total - first) / total
            return (elapsed + _TRUST * expected) / (share + _TRUST) * (1 - share)
        if share <= 0 or elapsed < _TOO_SOON:
            return None
        return elapsed / share * (1 - share)
