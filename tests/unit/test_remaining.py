# SPDX-License-Identifier: GPL-2.0
"""The remaining time of a step: expected at first, then by its pace; and the figures kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.pace import Pace
from testbed.remaining import Remaining
from testbed.settings import Settings
from testbed.suite.estimate import Estimate
from testbed.suite.orderdata import load_seconds


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def after(clock: Clock, seconds: float, done: float, expected: float | None) -> str:
    """The words after some seconds in which `done` of 100 were done."""
    remaining = Remaining(clock)
    remaining.update(0, 100, expected)
    clock.now += seconds
    remaining.update(done, 100)
    return str(remaining)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (9, ""),
        (11, "about 20 s left"),
        (60, "about 60 s left"),
        (119, "about 120 s left"),
        (121, "about 2 min left"),
        (260, "about 4 min left"),
        (3600, "about 60 min left"),
    ],
)
def test_the_words_are_as_exact_as_the_estimate(clock: Clock, expected: float, words: str) -> None:
    assert after(clock, 0, 0, expected) == words


def test_a_step_at_the_expected_pace_takes_the_expected_time(clock: Clock) -> None:
    assert after(clock, 300, 50, 600) == "about 5 min left"


@pytest.mark.parametrize(("seconds", "least", "most"), [(600, 6, 10), (150, 2, 5)])
def test_the_pace_so_far_corrects_the_expectation(
    clock: Clock, seconds: float, least: int, most: int
) -> None:
    # Half is done in the time expected for the whole, or for a quarter of it.
    words = after(clock, seconds, 50, 600)
    assert least < int(words.split()[1]) < most


def test_near_the_end_the_pace_counts_more_than_the_expectation(clock: Clock) -> None:
    assert after(clock, 3600, 90, 60) == "about 5 min left"


def test_it_counts_down_between_two_reports(clock: Clock) -> None:
    remaining = Remaining(clock)
    remaining.update(0, 100, 600)
    clock.now += 300
    assert str(remaining) == "about 5 min left"
    clock.now += 400
    assert str(remaining) == ""


def test_without_an_expectation_the_pace_counts_after_some_seconds(clock: Clock) -> None:
    assert after(clock, 4, 10, None) == ""
    assert after(clock, 60, 10, None) == "about 9 min left"
    assert after(clock, 60, 0, None) == ""


def test_work_of_an_earlier_step_counts_neither_as_done_nor_as_left(clock: Clock) -> None:
    remaining = Remaining(clock)
    remaining.update(50, 100, 600)  # an interrupted build goes on
    assert str(remaining) == "about 5 min left"
    clock.now += 150
    remaining.update(75, 100)
    assert str(remaining) == "about 2 min left"


def test_a_step_of_unknown_length_shows_nothing(clock: Clock) -> None:
    remaining = Remaining(clock)
    clock.now += 60
    remaining.update(3, None)
    assert str(remaining) == ""
    remaining.update(100, 100)
    assert str(remaining) == ""


def test_a_figure_is_the_shipped_one_until_this_host_has_its_own(settings: Settings) -> None:
    one, other = (Pace.of(settings, work, 680.0) for work in ("compile a", "compile b"))
    assert (one.read(), other.read()) == (680.0, 680.0)
    one.keep(100.0)
    other.keep(200.0)
    assert (one.read(), other.read()) == (100.0, 200.0)


def test_a_file_that_cannot_be_read_or_written_is_no_error(tmp_path: Path) -> None:
    for text in ("", "[]", '{"a": "x"}', '{"a": null}'):
        (tmp_path / "pace.json").write_text(text)
        assert Pace(tmp_path / "pace.json", "a", 3.0).read() == 3.0
    in_a_file = Pace(tmp_path / "pace.json" / "pace.json", "a", 3.0)
    in_a_file.keep(1.0)
    assert in_a_file.read() == 3.0


TESTS = [f"tests/vm/contract/test_a.py::test_{number}[arm64]" for number in range(1000)]


def test_a_run_expects_the_shipped_seconds_of_its_tests(settings: Settings) -> None:
    mean = load_seconds().mean
    estimate = Estimate.of(settings, 2)
    assert estimate.begin(TESTS) == pytest.approx(1000 * mean * 0.65 / 2)
    for test in TESTS[:500]:
        estimate.end(test)
    assert estimate.done == pytest.approx(estimate.total / 2)


def test_the_next_run_expects_the_pace_of_the_last_one_on_this_host(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("testbed.suite.estimate.time.monotonic", clock)
    one = Estimate.of(settings, 2)
    one.begin(TESTS)
    clock.now += 70
    one.keep()
    assert Estimate.of(settings, 2).begin(TESTS) == pytest.approx(70, rel=0.01)
    assert Estimate.of(settings, 4).begin(TESTS) == pytest.approx(35, rel=0.01)
    assert Estimate.of(settings, 2).begin(TESTS[:500]) == pytest.approx(35, rel=0.01)


def test_a_short_run_says_nothing_about_a_long_one(settings: Settings) -> None:
    before = Estimate.of(settings, 1).begin(TESTS)
    one = Estimate.of(settings, 1)
    one.begin(TESTS[:10])
    one.keep()
    assert Estimate.of(settings, 1).begin(TESTS) == before
