# SPDX-License-Identifier: GPL-2.0
"""Waiting for other processes and threads. Each wait has a deadline, and says what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from testbed.deadline import Deadline

T = TypeVar("T")

# What takes a moment takes this long on a busy host, in the worst case. No test depends on it.
_PATIENCE = 600.0

_PAUSE = 0.02


def wait_until(
    done: Callable[[], T],
    what: str,
    evidence: Callable[[], str] = str,
    seconds: float = _PATIENCE,
) -> T:
    """Return the first true value of `done`. After `seconds` the test fails.

    Args:
        what: names what is waited for.
        evidence: returns what explains a failure, such as a log.
    """
    deadline = Deadline.after(seconds)
    while not (value := done()):
        assert not deadline.expired, f"not within {deadline}: {what}\n{evidence()}"
        time.sleep(_PAUSE)
    return value


def wait_for_line(file: Path) -> str:
    """Return the text of a file that another process writes, when its last line is whole."""

    def text() -> str:
        found = file.read_text() if file.exists() else ""
        return found if found.endswith("\n") else ""

    return wait_until(text, f"a line in {file}")


def wait_for_end(*pids: int) -> None:
    """Wait for processes that others end. A signal to a group ends them one after another."""
    wait_until(lambda: not any(map(runs, pids)), f"the end of {pids}")


def runs(pid: int) -> bool:
    """Whether a process runs. A zombie only waits for its parent's wait(2), and has ended."""
    return stat_of(pid)[:1] not in ([], ["Z"])


def stat_of(pid: int) -> list[str]:
    """State, parent and the rest of /proc/PID/stat (proc_pid_stat(5)); empty if PID is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
