# SPDX-License-Identifier: GPL-2.0
"""The supplies of guests for one architecture: they decide how tests are isolated."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from testbed.lab.guest import Guest

# Tests in a batch. A clone costs as much as five short tests, and its first test twice as much.
SIZE = 32

# Starts a guest, which ends with the block.
Opener = Callable[[], AbstractContextManager[Guest]]


class Guests(Protocol):
    """A supply of guests for tests that run one after the other."""

    def take(self, later: int | None = None) -> Guest:
        """Return a healthy guest. Raises the error that kept it from coming up.

        `later` is the number of guests that will be taken after this one, or None if unknown.
        """

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        """Return a guest after its test. `clean` means that another test may use it."""

    def close(self) -> None:
        """End every VM."""


@dataclass
class OpenGuest:
    """A guest, and the stack that ends it."""

    guest: Guest
    stack: ExitStack

    def close(self) -> None:
        """End the VM. Remove its logs unless they are evidence."""
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

    def take(self, later: int | None = None) -> Guest:
        if self._open is not None and not self._open.guest.usable:
            self.close()
        if self._open is None:
            self._open = open_guest(self.opener)
            self._open.guest.has_evidence = True  # for each of its tests
        return self._open.guest

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        if not clean:
            self.close()

    def close(self) -> None:
        if self._open is not None:
            open_guest, self._open = self._open, None
            open_guest.close()


@dataclass
class Batched:
    """One guest for each batch of tests, as long as nothing unexpected happens in it."""

    fresh: Fresh
    _open: Guest | None = None
    _users: list[str] = field(default_factory=list)  # of the open guest

    @property
    def users(self) -> tuple[str, ...]:
        """The tests that have used the guest that the next test gets; empty: it is a new one."""
        return tuple(self._users) if self._goes_on else ()

    def take(self, later: int | None = None) -> Guest:
        if not self._goes_on:
            self.end()
        if self._open is None:
            self._open = self.fresh.take(later)
        return self._open

    def note_user(self, test: str) -> None:
        """Note that a test uses the guest that was taken last."""
        self._users.append(test)

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        if not clean or not _as_good_as_new(guest):
            self.end()

    def end(self) -> None:
        """End the batch: the next test gets another guest."""
        self._users.clear()
        if self._open is not None:
            guest, self._open = self._open, None
            self.fresh.give_back(guest, clean=False)

    def close(self) -> None:
        self._users.clear()
        self._open = None
        self.fresh.close()

    @property
    def _goes_on(self) -> bool:
        """Whether the next test gets the guest of the test before it."""
        fits = len(self._users) < SIZE
        return fits and self._open is not None and _as_good_as_new(self._open)


def _as_good_as_new(guest: Guest) -> bool:
    """Whether no test so far left anything behind, or had an unexpected verdict."""
    return guest.usable and not guest.spent and not guest.has_evidence


@dataclass
class Fresh:
    """One guest for each test. The next guests are started while a test runs."""

    opener: Opener
    ahead: int = 0  # number of guests to start in advance
    _taken: dict[int, OpenGuest] = field(default_factory=dict)
    _waiting: deque[Future[OpenGuest]] = field(default_factory=deque)
    _ends: deque[Future[None]] = field(default_factory=deque)
    _makers: ThreadPoolExecutor = field(init=False)
    _enders: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._makers = ThreadPoolExecutor(max(1, self.ahead), thread_name_prefix="next guest")
        self._enders = ThreadPoolExecutor(1, thread_name_prefix="last guest")

    def take(self, later: int | None = None) -> Guest:
        made = self._ready()
        self._taken[id(made.guest)] = made
        self._make(self.ahead if later is None else min(self.ahead, later))
        return made.guest

    def give_back(self, guest: Guest, *, clean: bool) -> None:
        self._end(self._taken.pop(id(guest)))

    def close(self) -> None:
        while self._taken:
            self._end(self._taken.popitem()[1])
        while self._waiting:
            if self._waiting[0].exception() is None:
                self._end(self._waiting[0].result())
            self._waiting.popleft()
        self._makers.shutdown()
        self._enders.shutdown()
        self._note_ends()

    def _ready(self) -> OpenGuest:
        """Return a waiting guest that is alive, else a new one. Raises the error of its start."""
        while self._waiting:
            # The cause of a failed start may be gone, and a waiting guest may have died.
            if self._waiting[0].exception() is None:
                made = self._waiting[0].result()
                if made.guest.usable:
                    return self._waiting.popleft().result()
                self._end(made)
            self._waiting.popleft()
        self._make(1)
        try:
            return self._waiting[0].result()
        finally:
            if self._waiting[0].done():  # not done after an interrupt: then `close` ends it
                self._waiting.popleft()

    def _make(self, count: int) -> None:
        """Start guests until `count` of them wait or are starting."""
        while len(self._waiting) < count:
            self._waiting.append(self._makers.submit(open_guest, self.opener))

    def _end(self, made: OpenGuest) -> None:
        """End a VM while the next test runs."""
        self._ends.append(self._enders.submit(made.close))
        self._note_ends()

    def _note_ends(self) -> None:
        """Raise the errors of ended VMs, which nothing else reports."""
        while self._ends and self._ends[0].done():
            self._ends.popleft().result()
