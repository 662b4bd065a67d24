"""Where the guests of one architecture come from, and where they go: how tests are isolated."""

from __future__ import annotations

import shutil
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
    """A guest for each test; with `ahead`, the next one is made ready while a test runs."""

    opener: Opener
    ahead: bool = False
    _taken: dict[int, OpenGuest] = field(default_factory=dict)
    _next: Future[OpenGuest] | None = None
    _makers: ThreadPoolExecutor = field(init=False)
    _enders: ThreadPoolExecutor = field(init=False)
    _ends: list[Future[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._makers = ThreadPoolExecutor(1, thread_name_prefix="next guest")
        self._enders = ThreadPoolExecutor(1, thread_name_prefix="last guest")

    def take(self) -> Guest:
        made = self._ready() or self._makers.submit(open_guest, self.opener).result()
        self._taken[id(made.guest)] = made
        if self.ahead:
            self._next = self._makers.submit(open_guest, self.opener)
        return made.guest

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        self._end(self._taken.pop(id(guest)))

    def close(self) -> None:
        for made in self._taken.values():
            self._end(made)
        self._taken.clear()
        if (made_ahead := self._unclaimed()) is not None:
            self._end(made_ahead)
        self._makers.shutdown()
        self._enders.shutdown()

    def _ready(self) -> OpenGuest | None:
        """The guest that was made ready, unless it died while it waited."""
        made = self._unclaimed()
        if made is not None and not made.guest.usable:
            self._end(made)
            return None
        return made

    def _unclaimed(self) -> OpenGuest | None:
        future, self._next = self._next, None
        # What kept it from coming up may have passed: the next try tells.
        return None if future is None or future.exception() is not None else future.result()

    def _end(self, made: OpenGuest) -> None:
        """End a VM while the next test runs."""
        self._ends = [end for end in self._ends if not end.done() or end.result()]
        self._ends.append(self._enders.submit(made.close))
