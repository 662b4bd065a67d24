# SPDX-License-Identifier: GPL-2.0
"""Something between testbed and guest breaks: the console decides who is to blame."""

from __future__ import annotations

import pytest

from testbed.errors import (
    GuestError,
    GuestLost,
    KernelSplat,
    ProbeProtocolError,
    SessionError,
)
from testbed.guest import blame as subject
from testbed.guest.blame import HangWatch, Witness, blame, since_begin

BEGIN = "[    5.111111] testbed: 0123abcd.{} begin test_one\n"

WARNING = """\
[    6.111111] ------------[ cut here ]------------
[    6.111111] WARNING: mm/gup.c:70 at try_get_folio+0x1/0x2, CPU#0: probe/60
[    6.111111] Call Trace:
[    6.111111]  do_mmap+0x1/0x2
[    6.222222] ---[ end trace 0000000000000000 ]---
"""

GARBAGE = ProbeProtocolError("bytes that are not a frame")
CLOSED = SessionError("the SSH channel to the guest was closed")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_NEWS", 0.2)
    monkeypatch.setattr(subject, "_PAUSE", 0.001)


@pytest.mark.parametrize("error", [GARBAGE, CLOSED])
def test_with_a_splat_the_kernel_is_to_blame(error: SessionError | ProbeProtocolError) -> None:
    found = blame(error, Witness(console=lambda: BEGIN.format(1) + WARNING))
    assert isinstance(found, KernelSplat)
    assert found.message == "warning: WARNING in try_get_folio"
    assert "cut here" in found.evidence
    assert f"then {type(error).__name__}: {error.message}" in found.evidence


@pytest.mark.parametrize("error", [GARBAGE, CLOSED])
def test_with_a_clean_console_the_error_stays(error: SessionError | ProbeProtocolError) -> None:
    """A splat of an earlier test, or of the boot, is not this test's."""
    found = blame(error, Witness(console=lambda: WARNING + BEGIN.format(2)))
    assert found is error
    assert not isinstance(found, GuestError)


def test_a_dead_guest_is_lost_and_its_splats_are_evidence() -> None:
    found = blame(CLOSED, Witness(lambda: "the guest reset itself", lambda: WARNING))
    assert isinstance(found, GuestLost)
    assert "the guest reset itself" in found.message
    assert "try_get_folio" in found.evidence


def test_a_splat_that_is_still_printed_is_waited_for() -> None:
    lines = WARNING.splitlines(keepends=True)
    shown = iter(range(1, len(lines) + 1))
    found = blame(GARBAGE, Witness(console=lambda: "".join(lines[: next(shown, len(lines))])))
    assert isinstance(found, KernelSplat)
    assert "end trace" in found.evidence


def test_a_splat_that_stays_incomplete_is_evidence_as_well() -> None:
    found = blame(GARBAGE, Witness(console=lambda: "BUG: Bad page state in process probe\n"))
    assert isinstance(found, KernelSplat)


def test_equal_splats_are_named_once() -> None:
    found = blame(GARBAGE, Witness(console=lambda: WARNING * 3))
    assert found.message == "warning: WARNING in try_get_folio"
    assert found.evidence.count("cut here") == 1
    assert "(2 more like this one)" in found.evidence


def test_of_many_kinds_of_splats_a_few_are_shown() -> None:
    many = "".join(WARNING.replace("try_get", f"f{number}_get") for number in range(9))
    found = blame(GARBAGE, Witness(console=lambda: many))
    assert found.evidence.count("cut here") == 6
    assert "(3 more kinds of splats)" in found.evidence
    assert found.message.endswith("WARNING in f5_get_folio; 3 more")
    assert "f0_get" in found.evidence


def test_a_warning_is_survived_and_an_oops_is_not() -> None:
    oops = "BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
    assert not Witness(console=lambda: WARNING).is_damaged()
    assert Witness(console=lambda: WARNING + oops).is_damaged()
    assert not Witness(console=lambda: oops + BEGIN.format(1)).is_damaged()


def test_a_kernel_hangs_if_interrupts_stay_off_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "_LOOKS", 3)
    console = [""]
    off = [True]
    watch = HangWatch(Witness(console=lambda: console[0], interrupts_off=lambda: off[0]))
    assert [watch.look() for _ in range(2)] == [False, False]
    console[0] = "a line\n"  # a kernel that prints with interrupts off, which takes long
    assert not watch.look()
    assert not watch.suspects
    assert [watch.look() for _ in range(2)] == [False, False]
    off[0] = False
    assert not watch.look()
    off[0] = True
    assert [watch.look() for _ in range(3)] == [False, False, True]


def test_the_console_counts_from_the_last_begin() -> None:
    console = BEGIN.format(1) + "one\r\n" + BEGIN.format(2) + "two\r\n"
    assert since_begin(console) == "two\n"
    assert since_begin("boot\r\n") == "boot\n"
    assert since_begin("testbed: begin is no mark\n").startswith("testbed")
