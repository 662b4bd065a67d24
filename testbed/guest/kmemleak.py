# SPDX-License-Identifier: GPL-2.0
"""Memory to which no reference exists any more, as kmemleak reports it.

Needs CONFIG_DEBUG_KMEMLEAK (mm/kmemleak.c, Documentation/dev-tools/kmemleak.rst).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.deadline import Deadline
from testbed.errors import GuestTimeout
from testbed.guest.session import Session

_FILE = "/sys/kernel/debug/kmemleak"

# MSECS_MIN_AGE of mm/kmemleak.c, and a second for the clock's coarseness.
_MIN_AGE = 6.0  # seconds of the guest

_HEAD = re.compile(r"unreferenced object (?:\(\w+\) )?0x[0-9a-f]+ \(size (?P<size>\d+)\):")
_OWNER = re.compile(r'\s+comm "(?P<command>.*)", pid (?P<pid>\d+), jiffies \d+')


@dataclass(frozen=True)
class Leak:
    """One object: its size, the process that allocated it, and kmemleak's whole report."""

    size: int  # bytes
    command: str
    pid: int
    text: str


def find_leaks(session: Session, deadline: Deadline) -> list[Leak]:
    """Scan all memory twice. Return the lost objects that are old enough and did not change.

    Raises:
        GuestTimeout: the guest's clock does not advance.
    """
    _scan(session, deadline)
    _wait_for_age(session, deadline)
    _scan(session, deadline)
    return list(parse_leaks(session.get(_FILE, deadline=deadline).decode(errors="replace")))


def parse_leaks(text: str) -> Iterator[Leak]:
    """Yield the objects in the text of /sys/kernel/debug/kmemleak."""
    for part in re.split(r"^(?=unreferenced object )", text, flags=re.MULTILINE):
        head, owner = _HEAD.match(part), _OWNER.search(part)
        if head and owner:
            yield Leak(int(head["size"]), owner["command"], int(owner["pid"]), part)


def _scan(session: Session, deadline: Deadline) -> None:
    session.write((_FILE, b"scan"), deadline=deadline)


def _wait_for_age(session: Session, deadline: Deadline) -> None:
    """Wait until all present allocations are old enough to be reported."""
    until = _uptime(session) + _MIN_AGE
    while _uptime(session) < until:
        if deadline.expired:
            raise GuestTimeout(f"the guest's clock did not advance by {_MIN_AGE} s")
        time.sleep(0.1)


def _uptime(session: Session) -> float:
    return float(session.get("/proc/uptime").split()[0])
