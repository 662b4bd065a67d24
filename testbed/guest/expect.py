# SPDX-License-Identifier: GPL-2.0
"""Comparison of the splats that a test expects with those that occurred. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.guest.splat import Splat, SplatKind


@dataclass(frozen=True)
class Expectation:
    """A splat that must occur once or more: its kind, and a pattern that its title must contain."""

    kind: SplatKind
    title: str = ""  # a regular expression to search for
    once: bool = False  # exactly once

    def matches(self, splat: Splat) -> bool:
        return splat.kind is self.kind and re.search(self.title, splat.title) is not None

    def is_met(self, times: int) -> bool:
        """Whether this number of splats meets the expectation."""
        return times == 1 if self.once else times > 0

    def __str__(self) -> str:
        what = f"{self.kind} {self.title!r}" if self.title else str(self.kind)
        return f"{what}, once" if self.once else what


@dataclass(frozen=True)
class Matched:
    """Splats that no expectation covers, and expectations that no splat met."""

    unexpected: tuple[Splat, ...]
    unmet: tuple[Expectation, ...]

    @property
    def ok(self) -> bool:
        return not self.unexpected and not self.unmet


def match_splats(splats: Sequence[Splat], expectations: Sequence[Expectation]) -> Matched:
    """Compare splats with expectations. One expectation covers all splats that match it."""
    return Matched(
        unexpected=tuple(
            splat for splat in splats if not any(wish.matches(splat) for wish in expectations)
        ),
        unmet=tuple(
            wish for wish in expectations if not wish.is_met(sum(map(wish.matches, splats)))
        ),
    )
