# SPDX-License-Identifier: GPL-2.0
"""Deadlines grow with the slowness of the host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import deadline
from testbed.deadline import Deadline, host_slowness


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The seconds of the loops that measure the host, as multiples of the usual ones."""
    taken: list[float] = []
    monkeypatch.setattr(deadline, "_loop_seconds", lambda: taken.pop(0) * deadline._USUAL)
    host_slowness.cache_clear()
    yield taken
    host_slowness.cache_clear()


@pytest.mark.parametrize(
    ("taken", "slowness"),
    [
        ([12.04, 12.0, 13.0, 90.0, 12.5], 12.0),  # other work delays a loop
        ([0.4] * 5, 1.0),
    ],
    ids=["emulated", "quick"],
)
def test_a_host_is_as_slow_as_its_quickest_loop_and_never_quicker_than_usual(
    loops: list[float], taken: list[float], slowness: float
) -> None:
    loops += taken
    assert host_slowness() == slowness
    assert host_slowness() == slowness  # measured once: no loop is left


def test_work_of_a_slow_host_gets_more_time(loops: list[float]) -> None:
    loops += [3.0] * 5
    assert Deadline.for_host(10.0).budget == 30.0
    assert Deadline.after(10.0).budget == 10.0


def test_this_host_can_be_measured() -> None:
    assert 0 < deadline._loop_seconds() < 60
