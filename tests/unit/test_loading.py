# SPDX-License-Identifier: GPL-2.0
"""A driver is loaded into a guest: its node appears, is made, or not; its modules may stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from testbed.check.checkplan import CheckPlan
from testbed.check.loading import Loader
from testbed.errors import GuestFileError
from testbed.kernel.driver import Driver, Module
from testbed.lab.guest import Guest
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.script import Script

DRIVER = Driver((Module(Path("foo.ko"), "foo", (), "7.3.4"),))


@dataclass
class FakeGuest:
    """A guest with files, modules and their references."""

    appears: bool = True  # the node, by itself
    added: Sequence[str] = ()  # entries of /proc/devices that the driver adds
    pins: int = 0  # references of the module to itself
    leaks: int = 0  # references that a trial leaves behind
    permanent: bool = False
    refuses: int = 0  # errno of loading
    loaded: dict[str, int] = field(default_factory=dict)
    argvs: list[list[str]] = field(default_factory=list)
    endings: list[Callable[[], object]] = field(default_factory=list)
    ledger: object = "a ledger"
    broken: str = ""
    waits: int = 0

    @property
    def session(self) -> FakeGuest:
        return self

    @property
    def prober(self) -> FakeGuest:
        return self

    def run(self, script: Script) -> Observation:
        self.waits += 1
        fact = {"step": 1, "op": "await", "errno": 0 if self.appears else 2}
        return parse_observation(script, f'{json.dumps(fact)}\n{{"done": true}}\n', "")

    def check(self, argv: list[str]) -> None:
        self.argvs.append(argv)

    def at_end(self, ending: Callable[[], object]) -> None:
        self.endings.append(ending)

    def load_module(self, path: str, parameters: str) -> None:
        if self.refuses:
            raise GuestFileError("init_module: no", errno=self.refuses)
        assert "foo" not in self.loaded, "EEXIST"
        self.loaded["foo"] = self.pins

    def unload_module(self, name: str) -> None:
        if self.loaded[name]:
            raise GuestFileError("in use", errno=11)
        if self.permanent:
            raise GuestFileError("no exit function", errno=16)
        del self.loaded[name]

    def get(self, path: str) -> bytes:
        if path == "/proc/devices":
            names = self.added if self.loaded else ()
            lines = [f"{240 + number} {name}" for number, name in enumerate(names)]
            text = "\n".join(
                ["Character devices:", "  1 mem", *lines, "", "Block devices:", "7 foo"]
            )
            return text.encode()
        users = "[permanent]," if self.permanent else "-"
        return "".join(f"{k} 1 {n} {users} Live 0x0\n" for k, n in self.loaded.items()).encode()

    def end(self) -> None:
        """End a trial."""
        self.loaded = {name: count + self.leaks for name, count in self.loaded.items()}
        while self.endings:
            self.endings.pop()()


def loader(**plan: Any) -> Loader:
    return Loader(DRIVER, CheckPlan(**plan), "/dev/foo", DRIVER.modules)


def load(made: Loader, guest: FakeGuest) -> None:
    made.load(cast(Guest, guest), unloads=False)


def test_a_node_that_appears_is_waited_for_and_not_made() -> None:
    guest = FakeGuest(added=("foo",))
    load(loader(), guest)
    assert guest.waits == 1
    assert guest.argvs == []


@pytest.mark.parametrize(
    ("added", "plan", "argv"),
    [
        (("foo",), {}, ["mknod", "/dev/foo", "c", "240", "0"]),
        (("bar",), {}, ["mknod", "/dev/foo", "c", "240", "0"]),
        (("bar", "foo"), {}, ["mknod", "/dev/foo", "c", "241", "0"]),
        (("bar", "baz"), {"mknod": "baz:3"}, ["mknod", "/dev/foo", "c", "241", "3"]),
        ((), {"mknod": "mem:5"}, ["mknod", "/dev/foo", "c", "1", "5"]),
    ],
)
def test_a_node_is_made_from_proc_devices(
    added: tuple[str, ...], plan: dict[str, str], argv: list[str]
) -> None:
    guest = FakeGuest(appears=False, added=added)
    made = loader(**plan)
    load(made, guest)
    assert argv in guest.argvs
    guest.end()
    assert guest.argvs[-1] == ["rm", "-f", "/dev/foo"]
    waited = guest.waits
    load(made, guest)
    assert guest.waits == waited  # the second time it is made at once


@pytest.mark.parametrize(
    ("added", "plan", "message"),
    [
        ((), {}, "/dev/foo does not appear within 5 s"),
        (("bar", "baz"), {}, 'name its entry of /proc/devices in a plan: mknod = "bar"'),
        (("foo",), {"mknod": "bar"}, "/proc/devices has no bar"),
    ],
)
def test_a_node_that_does_not_appear_is_an_error(
    added: tuple[str, ...], plan: dict[str, str], message: str
) -> None:
    with pytest.raises(GuestFileError) as caught:
        load(loader(**plan), FakeGuest(appears=False, added=added))
    assert message in caught.value.message


def test_a_reference_that_stays_behind_is_an_error() -> None:
    guest = FakeGuest(leaks=1)
    load(loader(), guest)
    with pytest.raises(GuestFileError, match="1 reference stays behind"):
        guest.end()


@pytest.mark.parametrize("guest", [FakeGuest(pins=1), FakeGuest(permanent=True)], ids=["p", "x"])
def test_a_module_that_pins_itself_stays(guest: FakeGuest) -> None:
    made = loader()
    load(made, guest)
    guest.end()
    assert made.stays == "foo"
    assert guest.ledger is None
    load(made, guest)  # is not loaded twice
    guest.end()
    other = FakeGuest()
    load(made, other)
    assert other.loaded == {"foo": 0}
    made.leave()
    assert guest.broken == "foo.ko stays loaded"
    assert other.broken == ""


@pytest.mark.parametrize("pins", [1, 2])
def test_a_reference_beside_those_of_loading_is_an_error(pins: int) -> None:
    guest = FakeGuest(pins=pins, leaks=2)
    load(loader(), guest)
    with pytest.raises(GuestFileError, match="2 references stay behind"):
        guest.end()


def test_a_module_that_refuses_to_load_is_named() -> None:
    with pytest.raises(GuestFileError) as caught:
        load(loader(), FakeGuest(refuses=11))
    assert caught.value.message == "foo.ko does not load: EAGAIN"
