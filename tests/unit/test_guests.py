# SPDX-License-Identifier: GPL-2.0
"""The supplies of guests: shared guests, and fresh guests that start in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from notes import Notes
from waiting import wait_until

from testbed.arch import find_arch
from testbed.context import Context
from testbed.errors import LaunchError, QmpError
from testbed.kernel.series import Series
from testbed.lab import lab as lab_module
from testbed.lab.guest import Guest
from testbed.lab.guests import SIZE, Batched, Fresh, Guests, Shared
from testbed.lab.lab import Lab
from testbed.settings import Isolation
from testbed.suite.batch import BATCH
from testbed.suite.batch_runner import BatchRunner
from testbed.suite.selection import Selection


@dataclass(eq=False)
class FakeGuest:
    """The part of a guest that its supply uses."""

    log_dir: Path
    usable: bool = True
    has_evidence: bool = False
    spent: str = ""
    test: str = ""
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
    wait_until(done, "the next guest")


@pytest.fixture
def lab(ctx: Context, factory: Factory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab whose batches get guests of the factory."""
    monkeypatch.setattr(Lab, "_supply", lambda *_: Batched(Fresh(factory.open)))
    with closing(Lab(ctx, Series())) as lab:
        yield lab


def used(lab: Lab, name: str, **left_behind: object) -> FakeGuest:
    """Let a test use a guest of a batch, and leave something behind in it."""
    with lab.guest("arm64", Isolation.BATCH, disks=False, user=name) as guest:
        vars(guest).update(left_behind)
    return cast(FakeGuest, guest)


def users(lab: Lab) -> tuple[str, ...]:
    return lab.users("arm64", disks=False)


def test_the_guest_of_a_batch_knows_its_users(lab: Lab) -> None:
    assert users(lab) == ()
    assert used(lab, "a") is used(lab, "b")
    assert users(lab) == ("a", "b")
    assert lab.users("arm64", disks=True) == lab.users("x86_64", disks=False) == ()
    lab.end_batches()
    assert users(lab) == ()


@pytest.mark.parametrize("late", [False, True], ids=["in its test", "behind its test"])
@pytest.mark.parametrize(
    "left",
    [{"has_evidence": True}, {"spent": "a leak was excused"}, {"usable": False}],
    ids=lambda left: next(iter(left)),
)
def test_a_guest_that_no_later_test_gets_has_no_users(
    lab: Lab, left: dict[str, object], late: bool
) -> None:
    first = used(lab, "a", **({} if late else left))
    vars(first).update(left)  # the verdict on a teardown comes behind it
    assert users(lab) == ()
    assert used(lab, "b") is not first
    assert users(lab) == ("b",)


def test_a_test_that_did_not_end_cleanly_ends_the_batch(lab: Lab) -> None:
    first = used(lab, "a", test="a")
    assert first.ended
    assert users(lab) == ()


def test_a_batch_has_a_largest_size(lab: Lab) -> None:
    guests = [used(lab, str(number)) for number in range(SIZE)]
    assert len({id(guest) for guest in guests}) == 1
    assert users(lab) == ()
    assert used(lab, "next") is not guests[0]
    assert users(lab) == ("next",)


def test_a_test_is_judged_with_the_users_of_its_guest_before_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []

    def item(name: str) -> pytest.Item:
        hooks = dict.fromkeys(("pytest_runtest_logstart", "pytest_runtest_logfinish"), ignored)
        found = SimpleNamespace(
            nodeid=name,
            location=(),
            stash={BATCH: 0},
            fixturenames=("arch", "guest"),
            callspec=SimpleNamespace(params={"arch": "arm64"}),
            get_closest_marker=lambda name: None,
            config=SimpleNamespace(option=SimpleNamespace(keep=False)),
            ihook=SimpleNamespace(**hooks),
        )
        return cast(pytest.Item, found)

    def run(_: object, item: pytest.Item, before: list[pytest.Item], __: object) -> list[object]:
        seen.append((item.nodeid, [each.nodeid for each in before]))
        if item.nodeid != "skipped":
            used(lab, item.nodeid, **({"spent": "a splat"} if item.nodeid == "b" else {}))
        return []

    monkeypatch.setattr("testbed.suite.confirm.Confirmer.run", run)
    runner = BatchRunner(lab, Selection())
    items = [item(name) for name in ("a", "skipped", "b", "c", "d")]
    runner.pytest_collection_finish(cast(pytest.Session, SimpleNamespace(items=items)))
    for each, following in zip(items, [*items[1:], items[0]], strict=True):
        runner.pytest_runtest_protocol(each, following)
    assert seen == [("a", []), ("skipped", ["a"]), ("b", ["a"]), ("c", []), ("d", ["c"])]

    used(lab, "a trial that a test makes by itself")
    seen.clear()
    for name in ("a", "d"):
        runner.pytest_runtest_protocol(item(name), items[0])
    assert seen == [("a", []), ("d", ["a"])]


def ignored(**_: object) -> None:
    """A hook that does nothing."""


def cloning_lab(ctx: Context, factory: Factory, monkeypatch: pytest.MonkeyPatch, words: str) -> Lab:
    """Return a lab whose QEMU cannot save a VM. `words`: the user's for QEMU."""

    def refuse(*_: object) -> None:
        raise QmpError("Migration is disabled")

    monkeypatch.setattr(lab_module, "find_template", lambda *_: None)
    monkeypatch.setattr(lab_module, "room_for", lambda *_: 1)
    monkeypatch.setattr(lab_module, "make_template", refuse)
    prepared = SimpleNamespace(
        arch=find_arch("arm64"),
        user_argv=tuple(words.split()),
        kernel=SimpleNamespace(release="7.3"),
    )
    monkeypatch.setattr(Lab, "_prepared_for", lambda *_: prepared)
    monkeypatch.setattr(Lab, "_boot", lambda *_: factory.open())
    monkeypatch.setattr(Lab, "log_dir", lambda *_: factory.root)
    return Lab(ctx, Series())


def test_with_a_device_that_cannot_be_saved_every_test_boots(
    ctx: Context, factory: Factory, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "-device vfio-pci,host=01:00.0"
    with closing(cloning_lab(ctx, factory, monkeypatch, words)) as lab:
        for _ in range(2):
            with lab.guest("arm64", Isolation.CLONE):
                pass
    assert len(factory.made) == 2
    assert [text for text in notes.texts if "cannot save" in text] == [
        f"every test boots, because QEMU cannot save a VM with {words}: Migration is disabled"
    ]


def test_a_vm_without_devices_of_the_user_must_be_saveable(
    ctx: Context, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = cloning_lab(ctx, factory, monkeypatch, "")
    with closing(lab), pytest.raises(QmpError), lab.guest("arm64", Isolation.CLONE):
        pass
