# SPDX-License-Identifier: GPL-2.0
"""The tests that scripts/havoc kills: some must pass, others must fail."""

from __future__ import annotations

import pytest

from testbed.guest.session import Session
from testbed.lab.guest import Guest
from testbed.mmap.path import HookPath
from testbed.mmap.probe import Prober

ROUNDS = range(4)


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.paths(HookPath.STACK)
def test_true(stack: Prober, path: HookPath, number: int) -> None:
    assert stack.map(path).made.error == ""


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.paths(HookPath.STACK)
def test_false(stack: Prober, path: HookPath, number: int) -> None:
    assert stack.map(path).made.error == "EINVAL"


@pytest.mark.parametrize("number", ROUNDS)
def test_long(guest: Guest, number: int) -> None:
    session: Session = guest.session
    assert session.check(["sh", "-c", "sleep 1; echo done"]).out == "done\n"
