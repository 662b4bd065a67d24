"""Splats that a test expects, against those that came. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.guest.splat import Splat, SplatKind


@dataclass(frozen=True)
class Expectation:
    """A splat that must come, once or more: its kind, and what its title must contain."""

    kind: SplatKind
    title: str = ""  # a regular expression, searched for

    def matches(self, splat: Splat) -> bool:
        return splat.kind is self.kind and re.search(self.title, splat.title) is not None

    def __str__(self) -> str:
        return f"{self.kind} {self.title!r}" if self.title else str(self.kind)


@dataclass(frozen=True)
class Matched:
    """Splats that no expectation covers, and expectations that no splat met."""

    unexpected: tuple[Splat, ...]
    unmet: tuple[Expectation, ...]

    @property
    def ok(self) -> bool:
        return not self.unexpected and not self.unmet


def match_splats(splats: Sequence[Splat], expectations: Sequence[Expectation]) -> Matched:
    """Hold splats against expectations. One expectation covers all the splats that match it."""
    return Matched(
        unexpected=tuple(
            splat for splat in splats if not any(wish.matches(splat) for wish in expectations)
        ),
        unmet=tuple(
            wish for wish in expectations if not any(wish.matches(splat) for splat in splats)
        ),
    )
