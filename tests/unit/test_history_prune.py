# SPDX-License-Identifier: GPL-2.0
"""Retention: which files of cells may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from history_parts import FAIL, MISS, PASS, XFAIL, Nights, case

from testbed.history.cells import cell_of
from testbed.history.database import History
from testbed.history.prune import Retention, Stored, ends, expendable, forget, stored_cells

NOW = datetime(2026, 11, 30, tzinfo=UTC)
RETENTION = Retention(green=14, bad=90)


def stored(days: float, *, green: bool = True, pinned: bool = False, artifact: str = "a") -> Stored:
    started = (NOW - timedelta(days=days)).isoformat(timespec="seconds")
    return Stored(1, artifact, started, green, pinned)


@pytest.mark.parametrize(
    ("cell", "goes"),
    [
        (stored(13), False),
        (stored(15), True),
        (stored(15, green=False), False),
        (stored(91, green=False), True),
        (stored(1000, pinned=True), False),
        (stored(1000, green=False, pinned=True), False),
        (stored(-1000), False),
    ],
)
def test_files_go_after_days_unless_they_are_pinned(cell: Stored, goes: bool) -> None:
    assert expendable([cell], NOW, RETENTION) == (["a"] if goes else [])


def test_files_that_two_cells_share_stay_as_long_as_one_needs_them() -> None:
    assert expendable([stored(15), stored(1)], NOW, RETENTION) == []
    assert expendable([stored(15), stored(16)], NOW, RETENTION) == ["a"]
    assert expendable([stored(15), stored(1, artifact="b")], NOW, RETENTION) == ["a"]


@pytest.mark.parametrize("started", ["", "yesterday"])
def test_files_of_an_unknown_age_stay(started: str) -> None:
    assert expendable([Stored(1, "a", started, True, False)], NOW, RETENTION) == []


def test_a_time_without_a_zone_is_utc() -> None:
    assert expendable([Stored(1, "a", "2026-01-01T00:00:00", True, False)], NOW, RETENTION) == ["a"]


@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        ("", set()),
        ("ggg", set()),
        ("gbbg", {0, 1}),
        ("gbg", set()),  # once only: the files of a bad cell stay for their days
        ("ggb", {1, 2}),  # it lasts until now
        ("bb", {0}),
        ("gbbggbbb", {0, 1, 4, 5}),
        ("gbgbgg", set()),
    ],
)
def test_the_ends_of_failures_that_last_are_kept(outcomes: str, kept: set[int]) -> None:
    assert ends([(cell, letter == "b") for cell, letter in enumerate(outcomes)]) == kept


def test_cells_are_green_without_unexpected_results(history: History) -> None:
    nights = Nights(history)
    for status in (PASS, XFAIL, FAIL, MISS):
        nights.add(case("a", status))
    with history.read() as db:
        assert [each.green for each in stored_cells(db)] == [True, True, False, False]


def test_cells_that_later_nights_need_are_pinned(history: History) -> None:
    nights = Nights(history)
    nights.add_statuses(*[{"a": PASS, "b": PASS}] * 3)
    nights.add_statuses(*[{"a": FAIL, "b": PASS}] * 2, *[{"a": PASS, "b": PASS}] * 4)
    with history.read() as db:
        pinned = [each.artifact for each in stored_cells(db) if each.pinned]
    # The last good, the first bad, and the two newest.
    assert pinned == ["artifact-3", "artifact-4", "artifact-8", "artifact-9"]


def test_cells_that_facts_are_compared_with_are_pinned(history: History) -> None:
    nights = Nights(history)
    for value in ("rw", "ro", "ro", "ro"):
        nights.add(case("a"), facts={"a": {"s": {"vma.0": value}}})
    with history.read() as db:
        pinned = [each.artifact for each in stored_cells(db) if each.pinned]
    assert pinned == ["artifact-1", "artifact-3", "artifact-4"]


def test_what_is_forgotten_is_not_stored_any_more(history: History) -> None:
    nights = Nights(history)
    cells = [nights.add(case("a")) for _ in range(2)]
    with history.write() as db:
        forget(db, ["artifact-1"])
    with history.read() as db:
        assert [each.cell for each in stored_cells(db)] == cells[1:]
        assert cell_of(db, cells[0]).artifact == ""
        assert cell_of(db, cells[1]).artifact == "artifact-2"
