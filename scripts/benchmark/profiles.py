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


# Calls that the overhead is measured with.
_CALLS = 20_000


@dataclass(frozen=True)
class Overhead:
    """The seconds that profiling adds for each call: to the function, and to its caller."""

    called: float = 0.0
    calling: float = 0.0


@dataclass
class Profile:
    """The profiles of all threads, so far."""

    overhead: Overhead
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
            total.update(summed(each.getstats(), self.overhead))
        return total


@contextmanager
def profiled() -> Iterator[Profile]:
    """Profile the block by CPU time: this thread, and those that begin in it."""
    profile, original = Profile(measured_overhead()), _thread.start_new_thread

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


def measured_overhead() -> Overhead:
    """Measure what profiling adds on this host. It is more than a short function takes."""

    def called() -> None:
        pass

    def calling() -> None:
        for _ in range(_CALLS):
            called()

    began = time.thread_time()
    calling()
    plain = (time.thread_time() - began) / _CALLS
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(calling)
    own = {each.code: each.inlinetime / _CALLS for each in profile.getstats()}
    return Overhead(own[called.__code__], max(0.0, own[calling.__code__] - plain))


def summed(entries: Iterable[Any], overhead: Overhead) -> Counter[str]:
    """Sum the seconds of functions by file. A function in C counts for the files that call it.

    `entries` are what cProfile has of functions: `code` is a str for those in C, `inlinetime` lacks
    the seconds of what they call, and `calls` has the same of each function that they call.
    """
    total: Counter[str] = Counter()
    for entry in entries:
        if isinstance(entry.code, str):
            continue
        calls = entry.calls or ()
        own = _own(entry, overhead) - overhead.calling * sum(each.callcount for each in calls)
        in_c = (_own(each, overhead) for each in calls if isinstance(each.code, str))
        total[short(entry.code.co_filename)] += max(0.0, own) + sum(in_c)
    return total


def _own(entry: Any, overhead: Overhead) -> float:
    return max(0.0, float(entry.inlinetime - overhead.called * entry.callcount))


def short(file: str) -> str:
    """Return the name of a file below the folder of its packages."""
    return _PACKAGES.sub("", file)
