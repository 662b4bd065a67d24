# SPDX-License-Identifier: GPL-2.0
"""A CPU profile of a process with several threads, summed by file."""

from __future__ import annotations

import _thread
import cProfile
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

_PACKAGES = re.compile(r"^.*/(?:site-packages/|lib/python3\.\d+/|(?=(?:testbed|scripts|tests)/))")


@dataclass
class Profile:
    """The profiles of all threads, so far."""

    threads: list[cProfile.Profile] = field(default_factory=list)

    def begin(self, *_: object) -> None:
        """Profile the present thread."""
        mine = cProfile.Profile(time.thread_time)
        self.threads.append(mine)
        with suppress(ValueError):  # from Python 3.12 on, one profile is for all threads
            mine.enable()

    def by_file(self) -> Counter[str]:
        """Return the CPU seconds of each file so far."""
        total: Counter[str] = Counter()
        for each in self.threads:
            total.update(summed(each.getstats()))
        return total


@contextmanager
def profiled() -> Iterator[Profile]:
    """Profile the block by CPU time: this thread, and those that begin in it."""
    profile, original = Profile(), _thread.start_new_thread

    def start(function: Callable[..., object], args: tuple[Any, ...] = ()) -> int:
        def body() -> None:
            profile.begin()
            function(*args)

        return original(body, ())

    # execnet starts threads by itself, without threading.
    _thread.start_new_thread = start  # type: ignore[assignment]
    threading.setprofile(profile.begin)
    profile.begin()
    try:
        yield profile
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        _thread.start_new_thread = original


def summed(entries: Iterable[Any]) -> Counter[str]:
    """Sum the seconds of functions by file. A function in C counts for the files that call it.

    `entries` are what cProfile has of functions: `code` is a str for those in C, `inlinetime` lacks
    the seconds of what they call, and `calls` has the same of each function that they call.
    """
    total: Counter[str] = Counter()
    for entry in entries:
        if isinstance(entry.code, str):
            continue
        in_c = (called.inlinetime for called in entry.calls or () if isinstance(called.code, str))
        total[short(entry.code.co_filename)] += entry.inlinetime + sum(in_c)
    return total


def short(file: str) -> str:
    """Return the name of a file below the folder of its packages."""
    return _PACKAGES.sub("", file)
