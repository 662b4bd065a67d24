"""Where the guests of one architecture come from, and where they go: how tests are isolated."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from testbed.lab.guest import Guest

# Starts a guest that ends with the block.
Opener = Callable[[], AbstractContextManager[Guest]]


class Guests(Protocol):
    """A supply of guests for one test after the other."""

    def take(self) -> Guest:
        """A healthy guest. Raises what kept it from coming up."""

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        """The test is over; `clean` says that another one could follow it."""

    def close(self) -> None:
        """End every VM."""


@dataclass
class OpenGuest:
    """A guest, and what ends it."""

    guest: Guest
    stack: ExitStack

    def close(self) -> None:
        """End the VM; its logs go when nobody is told of them."""
        self.stack.close()
        if not self.guest.has_evidence:
            shutil.rmtree(self.guest.vm.spec.log_dir, ignore_errors=True)


def open_guest(opener: Opener) -> OpenGuest:
    """Start a guest."""
    with ExitStack() as stack:
        guest = stack.enter_context(opener())
        return OpenGuest(guest, stack.pop_all())


@dataclass
class Shared:
    """One guest for all tests, as long as it is healthy."""

    opener: Opener
    _open: OpenGuest | None = None

    def take(self) -> Guest:
        if self._open is not None and not self._open.guest.usable:
            self.close()
        if self._open is None:
            self._open = open_guest(self.opener)
            self._open.guest.has_evidence = True  # of every test that it is for
        return self._open.guest

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        if not clean:
            self.close()

    def close(self) -> None:
        if self._open is not None:
            open_guest, self._open = self._open, None
            open_guest.close()


@dataclass
class Fresh:
    """A guest for each test; the next ones are made ready while a test runs."""

    opener: Opener
    ahead: int = 0  # how many
    _taken: dict[int, OpenGuest] = field(default_factory=dict)
    _waiting: deque[Future[OpenGuest]] = field(default_factory=deque)
    _ends: deque[Future[None]] = field(default_factory=deque)
    _makers: ThreadPoolExecutor = field(init=False)
    _enders: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._makers = ThreadPoolExecutor(max(1, self.ahead), thread_name_prefix="next guest")
        self._enders = ThreadPoolExecutor(1, thread_name_prefix="last guest")

    def take(self) -> Guest:
        made = self._ready() or self._makers.submit(open_guest, self.opener).result()
        self._taken[id(made.guest)] = made
        while len(self._waiting) < self.ahead:
            self._waiting.append(self._makers.submit(open_guest, self.opener))
        return made.guest

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        self._end(self._taken.pop(id(guest)))

    def close(self) -> None:
        while self._taken:
            self._end(self._taken.popitem()[1])
        while self._waiting:
            if (made := _result(self._waiting.popleft())) is not None:
                self._end(made)
        self._makers.shutdown()
        self._enders.shutdown()
        self._note_ends()

    def _ready(self) -> OpenGuest | None:
        """A guest that was made ready, and did not die while it waited."""
        while self._waiting:
            made = _result(self._waiting.popleft())
            if made is None or made.guest.usable:
                return made
            self._end(made)
        return None

    def _end(self, made: OpenGuest) -> None:
        """End a VM while the next test runs."""
        self._ends.append(self._enders.submit(made.close))
        self._note_ends()

    def _note_ends(self) -> None:
        """Raise what went wrong in ending a VM: nobody else asks."""
        while self._ends and self._ends[0].done():
            self._ends.popleft().result()


def _result(future: Future[OpenGuest]) -> OpenGuest | None:
    """What was made. What kept it from coming up may have passed: another try tells."""
    return None if future.exception() is not None else future.result()
