# SPDX-License-Identifier: GPL-2.0
"""Which drivers are checked on which machines, and a newer kernel that does not boot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from test_check import checked

from testbed.check.drivers import DriverChecks, Machine
from testbed.check.result import Checked, Conversion
from testbed.check.serieschange import differs, why_unreached
from testbed.errors import BootError, CommandError, SetupError
from testbed.intree.recipe import Recipe, load_recipes
from testbed.lab.lab import Lab

KNOWN = load_recipes()
PERF, PACKET, CMA = (KNOWN[name] for name in ("perf", "packet", "heap-cma"))


class FakeLab:
    """A kernel, and the machines that were made for it."""

    def __init__(self, release: str = "7.3.4", *, boots: bool = True) -> None:
        one_worker = {"arch": ("x86_64", "arm64"), "worker_count": lambda mib: 1}
        self.ctx = SimpleNamespace(settings=SimpleNamespace(**one_worker))
        self.kernel = SimpleNamespace(release=release, modules=Path("/none"))
        self.boots, self.made = boots, list[tuple[str, tuple[str, ...]]]()

    def prepared(self, arch: str) -> Any:
        return SimpleNamespace(kernel=self.kernel, source=None)

    @contextmanager
    def guest(self, arch: str, *, disks: bool) -> Iterator[None]:
        if not self.boots:
            raise BootError("it panics")
        yield

    def make_templates(self) -> None:
        """Nothing boots."""

    def close(self) -> None:
        """Nothing runs."""


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Drivers and architectures whose trials ran. arm64 lacks packet."""
    found: list[tuple[str, str]] = []

    def lab(machine: Machine, kernel: FakeLab, arches: tuple[str, ...]) -> FakeLab:
        kernel.made.append((machine.cmdline, arches))
        made = FakeLab(kernel.kernel.release, boots=kernel.boots)
        made.ctx.settings.arch = arches
        return made

    def require(recipe: Recipe, arch: Any, *_: object) -> None:
        if (recipe.name, arch.name) == ("packet", "arm64"):
            raise SetupError("it lacks packet")

    class FakeChecker:
        base_mappings, unsteady = (), None

        def __init__(
            self, lab: Any, arch: str, driver: Any, name: str, node: str, plan: Any, *_: Any
        ):
            self.name, self.arch, self.plan = name, arch, plan

        def run(self) -> Checked:
            found.append((self.name, self.arch))
            return checked()

    monkeypatch.setattr(Machine, "lab", lab)
    monkeypatch.setattr("testbed.check.drivers.require", require)
    monkeypatch.setattr("testbed.check.drivers.Checker", FakeChecker)
    return found


def checks(*labs: FakeLab, lenient: bool = True) -> DriverChecks:
    return DriverChecks([cast(Lab, lab) for lab in labs], lenient=lenient)


def test_a_machine_is_made_for_the_drivers_that_can_be_checked(ran: list[tuple[str, str]]) -> None:
    kernel = FakeLab()
    found = checks(kernel)
    assert len(found.run([PERF, PACKET])) == 3
    assert ran == [("perf", "x86_64"), ("packet", "x86_64"), ("perf", "arm64")]
    assert kernel.made == [("", ("x86_64", "arm64"))]
    assert found.left_out == {"packet on arm64": "it lacks packet"}


def test_no_machine_is_made_for_a_driver_that_cannot_be_checked(ran: list[tuple[str, str]]) -> None:
    kernel = FakeLab()
    assert checks(kernel).run([replace(PACKET, arches=("arm64",), cmdline="foo")])
    assert kernel.made == [("foo", ("x86_64",))]


def test_a_driver_that_was_named_must_be_checkable_before_anything_boots(
    ran: list[tuple[str, str]],
) -> None:
    kernel = FakeLab()
    with pytest.raises(SetupError, match="it lacks packet"):
        checks(kernel, lenient=False).run([PERF, PACKET])
    assert (ran, kernel.made) == ([], [])


def test_a_disk_that_cannot_be_made_leaves_out_its_driver_alone(
    ran: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise CommandError("mkfs.vfat failed")

    monkeypatch.setattr("testbed.check.drivers.build_disk", fails)
    found = checks(FakeLab())
    found.run([KNOWN["fat"], PERF])
    assert [name for name, _ in ran] == ["perf", "perf"]
    assert set(found.left_out.values()) == {"fat: its disk cannot be made: mkfs.vfat failed"}


def test_a_newer_kernel_that_does_not_boot_is_different(ran: list[tuple[str, str]]) -> None:
    found = checks(FakeLab("7.3.4"), FakeLab("7.3.5", boots=False)).run([PERF, CMA])
    assert not ran
    assert len(found) == 4
    for each in found:
        assert isinstance(each, Conversion)
        assert differs(each)
        assert not why_unreached(each)
        (change,) = each.differences[0].changes
        assert (change.base, change.new) == (
            "holds",
            "fails: the kernel does not boot: it panics",
        )


def test_an_older_kernel_that_does_not_boot_is_no_verdict(ran: list[tuple[str, str]]) -> None:
    with pytest.raises(BootError, match="it panics"):
        checks(FakeLab(boots=False), FakeLab()).run([PERF])
