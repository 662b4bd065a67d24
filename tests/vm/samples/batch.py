# SPDX-License-Identifier: GPL-2.0
"""Tests of which one fails only behind another in its batch. test_batches.py runs them."""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest

KNOB = "/proc/sys/vm/swappiness"


@pytest.mark.parametrize("number", range(3))
def test_harmless(guest: Guest, number: int) -> None:
    assert guest.session.get(KNOB) == b"60\n"


def test_that_leaves_something_behind(guest: Guest) -> None:
    guest.session.write((KNOB, b"10"))


def test_harmless_too(guest: Guest) -> None:
    assert guest.session.get(KNOB)


def test_that_needs_a_clean_guest(guest: Guest) -> None:
    assert guest.session.get(KNOB) == b"60\n"


def test_that_is_wrong_everywhere(guest: Guest) -> None:
    assert guest.session.get(KNOB) == b"70\n"


def test_in_a_batch_of_its_own(guest: Guest) -> None:
    assert guest.session.get(KNOB) == b"60\n"
