# SPDX-License-Identifier: GPL-2.0
"""Notification from the threads that watch a VM to the one that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from testbed.deadline import Deadline

T = TypeVar("T")


class Notifier:
    """Signals that something about a VM has changed: console text, a QMP event, its end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def notify(self) -> None:
        """Wake the waiting thread. Call this only after the change is visible."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, look: Callable[[], T | None], deadline: Deadline | None) -> T | None:
        """Call `look` after every notification, until it finds something; return that.

        Return None when the deadline passes first.
        """
        with self._changed:
            while (found := look()) is None:
                remaining = None if deadline is None else deadline.remaining
                if remaining == 0.0:
                    return None
                self._changed.wait(remaining)
            return found
