# SPDX-License-Identifier: GPL-2.0
"""How threads that watch a VM wake the one that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from testbed.deadline import Deadline

T = TypeVar("T")


class Notifier:
    """Rung when something about a VM has changed: console text, a QMP event, an end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def notify(self) -> None:
        """Wake who waits; call it after the change can be seen."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, look: Callable[[], T | None], deadline: Deadline | None) -> T | None:
        """What `look` finds, which is asked after every ring; None when the deadline passes."""
        with self._changed:
            while (found := look()) is None:
                remaining = None if deadline is None else deadline.remaining
                if remaining == 0.0:
                    return None
                self._changed.wait(remaining)
            return found
