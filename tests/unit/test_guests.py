# SPDX-License-Identifier: GPL-2.0
"""The supplies of guests: shared guests, and fresh guests that start in advance."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from testbed.errors import LaunchError
from testbed.lab.guest import Guest
from testbed.lab.guests import Fresh, Guests, Shared


@dataclass(eq=False)
class FakeGuest:
    """The part of a guest that its supply uses."""

    log_dir: Path
    usable: bool = True
    has_evidence: bool = False
    ended: bool = False

    @property
    def vm(self) -> SimpleNamespace:
        return SimpleNamespace(spec=SimpleNamespace(log_dir=self.log_dir))


@dataclass
class Factory:
    """Makes guests, and keeps a list of them."""

    root: Path
    made: list[FakeGuest] = field(default_factory=list)
    broken: bool = False
    numbers: Iterator[int] = field(default_factory=count)  # safe in threads

    @contextmanager
    def open(self) -> Iterator[Guest]:
        if self.broken:
            raise LaunchError("no QEMU")
        guest = FakeGuest(self.root / str(next(self.numbers)))
        guest.log_dir.mkdir()
        self.made.append(guest)
        try:
            yield cast(Guest, guest)
        finally:
            guest.ended = True


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return Factory(tmp_path)


def use(guests: Guests, *, clean: bool = True) -> FakeGuest:
    guest = guests.take()
    guests.give_back(guest, clean=clean)
    return cast(FakeGuest, guest)


def test_all_tests_get_the_same_shared_guest(factory: Factory) -> None:
    guests = Shared(factory.open)
    assert use(guests) is use(guests)
    guests.close()
    assert [guest.ended for guest in factory.made] == [True]


def test_a_shared_guest_is_replaced_after_an_unclean_end(factory: Factory) -> None:
    guests = Shared(factory.open)
    first = use(guests, clean=False)
    assert first.ended
    assert use(guests) is not first


def test_an_unusable_shared_guest_is_replaced(factory: Factory) -> None:
    guests = Shared(factory.open)
    first = use(guests)
    first.usable = False
    assert use(guests) is not first
    assert first.ended


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_a_fresh_guest_serves_one_test(factory: Factory, ahead: int) -> None:
    guests = Fresh(factory.open, ahead)
    used = [use(guests) for _ in range(5)]
    guests.close()
    assert len({id(guest) for guest in used}) == 5
    assert all(guest.ended for guest in factory.made)
    assert len(factory.made) == 5 + ahead


def test_no_more_guests_start_than_will_be_taken(factory: Factory) -> None:
    guests = Fresh(factory.open, ahead=2)
    for later in (2, 1, 0):
        guests.give_back(guests.take(later), clean=True)
    guests.close()
    assert len(factory.made) == 3


def test_a_waiting_guest_that_died_is_not_handed_out(factory: Factory) -> None:
    guests = Fresh(factory.open, 1)
    use(guests)
    _settle(lambda: len(factory.made) == 2)
    factory.made[1].usable = False
    assert use(guests) is not factory.made[1]
    guests.close()


def test_take_raises_the_error_of_a_failed_start(factory: Factory) -> None:
    guests = Fresh(factory.open, 2)
    factory.broken = True
    for _ in range(2):
        with pytest.raises(LaunchError):
            guests.take()
    factory.broken = False
    assert use(guests).usable
    guests.close()


def test_the_logs_of_a_fresh_guest_are_removed_unless_they_are_evidence(factory: Factory) -> None:
    guests = Fresh(factory.open)
    use(guests)
    bad = guests.take()
    bad.has_evidence = True
    guests.give_back(bad, clean=True)
    guests.close()
    assert [guest.log_dir.exists() for guest in factory.made] == [False, True]


def _settle(done: Callable[[], bool]) -> None:
    """Poll for the work of another thread, because the pool has no event to wait for."""
    pause = threading.Event()
    for _ in range(500):
        if done():
            return
        pause.wait(0.01)
    raise AssertionError("the next guest was not made")
