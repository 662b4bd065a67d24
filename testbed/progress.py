# SPDX-License-Identifier: GPL-2.0
"""How long work tells what it does; cli.py and plugin.py decide what is shown of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Step(Protocol):
    """One piece of work under way."""

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        """`done` of `total` (in whatever unit the step counts), and what is at hand now."""


class Progress(Protocol):
    """Where steps are reported to. Must be safe to use from several threads."""

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        """A step that lasts as long as the block; `total` where it is known."""
        ...

    def note(self, text: str) -> None:
        """One line that a user should see: a choice made, a fall-back taken."""


class _SilentStep:
    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        pass


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        yield _SilentStep()

    def note(self, text: str) -> None:
        pass
