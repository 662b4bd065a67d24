# SPDX-License-Identifier: GPL-2.0
"""Reads the counters of a guest's kernel around each test.

They count for the whole machine, and a clone brings those of its template: they are set to zero
before a test.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest

from testbed.coverage.gcov import Reader
from testbed.coverage.hunks import Seen, Way
from testbed.errors import SetupError
from testbed.lab.guest import Guest
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath
from testbed.suite.item import parameters

_GCOV = "/sys/kernel/debug/gcov"
_RESET = f"{_GCOV}/reset"

# Steps that map. A test in which one fails is on an error path.
_MAPPING = frozenset({"map", "mremap", "shmat", "io_setup"})

_PLAIN = (None, HookPath.DIRECT, HookPath.LEGACY)


@dataclass(eq=False)  # pytest puts its plugins into sets
class Collector:
    """A pytest plugin that notes which lines each test ran."""

    reader: Reader
    guest_of: Callable[[pytest.Item], Guest | None]
    seen: list[Seen] = field(default_factory=list)
    executable: dict[str, set[int]] = field(default_factory=dict)
    trouble: SetupError | None = None  # why counters cannot be read

    def __post_init__(self) -> None:
        for target in self.reader.notes:
            for file, counts in self.reader.counts(target, b"").items():
                self.executable.setdefault(file, set()).update(counts)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        guest = self.guest_of(item)
        if guest is None:
            return (yield)
        with self._counted(guest, item.nodeid, lambda: way_of(item, guest.prober.observations)):
            return (yield)

    @contextmanager
    def trial(self, guest: Guest, user: str) -> Iterator[None]:
        """Count what a trial of a driver runs, which its user `TRIAL on PATH` names."""
        path = HookPath(user.rpartition(" on ")[2])
        with self._counted(guest, user, lambda: _way(path, guest.prober.observations)):
            yield

    @contextmanager
    def fuzz(self, guest: Guest, _user: str) -> Iterator[None]:
        """Count what generated programs run. Each guest runs many, on all paths."""
        with self._counted(guest, "fuzz", lambda: Way.FUZZ):
            yield

    @contextmanager
    def _counted(self, guest: Guest, name: str, way: Callable[[], Way]) -> Iterator[None]:
        guest.session.write((_RESET, b"1"))
        try:
            yield
        finally:
            if guest.usable and self.trouble is None:
                self._note_unless_trouble(name, way(), guest)

    def _note_unless_trouble(self, name: str, way: Way, guest: Guest) -> None:
        """Note what ran. An error is not the test's: whoever made the collector raises it."""
        try:
            self._note(name, way, guest)
        except SetupError as error:
            self.trouble = error

    def _note(self, name: str, way: Way, guest: Guest) -> None:
        lines: dict[str, set[int]] = {}
        for target in self.reader.notes:
            counters = _counters(guest, target)
            if not counters:
                continue
            for file, counts in self.reader.counts(target, counters).items():
                ran = {number for number, count in counts.items() if count}
                lines.setdefault(file, set()).update(ran)
        found = {file: frozenset(numbers) for file, numbers in lines.items()}
        self.seen.append(Seen(name, way, found))


def _counters(guest: Guest, target: str) -> bytes:
    """Return an object's counters; nothing if it is a module that is not loaded."""
    name = target.removesuffix(".o")
    # The guest's find has no -path.
    found = f"find {_GCOV} -name {PurePosixPath(name).name}.gcda | grep /{name}.gcda"
    return guest.session.run(["sh", "-c", f"file=$({found}) && cat $file || :"]).stdout


def way_of(item: pytest.Item, observations: list[Observation]) -> Way:
    """Return the way in which a test reaches what it runs."""
    stacked = any(mark.kwargs.get("by") for mark in item.iter_markers("reaches"))
    return _way(parameters(item).get("path"), observations, stacked=stacked)


def _way(path: object, observations: Sequence[Observation], *, stacked: bool = False) -> Way:
    facts = [fact for each in observations for fact in each.facts.values()]
    if any(fact.op in _MAPPING and fact.errno for fact in facts):
        return Way.ERROR
    return Way.STACK if stacked or path not in _PLAIN else Way.DIRECT
