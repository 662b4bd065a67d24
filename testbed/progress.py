# SPDX-License-Identifier: GPL-2.0
"""The interface by which long work reports progress. testbed/cli and testbed/suite show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Step(Protocol):
    """One piece of work in progress."""

    def update(
        self,
        done: float,
        *,
        total: float | None = None,
        note: str = "",
        seconds: float | None = None,
    ) -> None:
        """Report `done` of `total`, in any unit, and a note on the present item.

        `seconds` is the time that all of `total` is expected to take. Without it, the remaining
        time follows from the pace of the step alone.
        """


class Progress(Protocol):
    """A receiver of reports. It must be safe to use from several threads."""

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        """Begin a step that lasts as long as the block; give `total` if it is known."""
        ...

    def note(self, text: str, *, once: bool = False) -> None:
        """Report one line that a user should see, such as a choice or a fall-back.

        With `once`, it is shown only if no such line was.
        """


class _SilentStep:
    def update(
        self,
        done: float,
        *,
        total: float | None = None,
        note: str = "",
        seconds: float | None = None,
    ) -> None:
        pass


class SilentProgress:
    """A progress that shows nothing."""

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        yield _SilentStep()

    def note(self, text: str, *, once: bool = False) -> None:
        pass
