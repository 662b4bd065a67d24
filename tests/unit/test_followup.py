# SPDX-License-Identifier: GPL-2.0
"""What follows from the findings of a night: confirmations, searches, order and mail."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sham_cells import register, sham

from testbed.history.records import Class, Finding, Lane, Point, Signature
from testbed.nightly.alike import alike
from testbed.nightly.cell import Cell
from testbed.nightly.followup import bisections, confirmations
from testbed.nightly.mail import mail_of, wants_mail
from testbed.nightly.night import Bisected, Night, NightCell
from testbed.nightly.planner import derived
from testbed.nightly.priority import by_worth, text_of
from testbed.nightly.summary import list_lines, summary_lines
from testbed.nightly.table import State
from testbed.report.diff import FactChange
from testbed.results.model import Status

register()

LANE = Lane(matrix="shams", stream="next", arch="x86_64")

CELL = dataclasses.replace(
    sham(1), stream="next", kernel=f"tree:/linux@{'b' * 40}", commit="b" * 40
)


def point(letter: str) -> Point:
    return Point(cell=1, seq=1, run="a night", kernel=f"7.3-{letter}", commit=letter * 40)


def finding(test: str = "t1", title: str = "x", **changes: Any) -> Finding:
    plain = Finding(
        kind=Class.NEW,
        lane=LANE,
        lane_id=1,
        cell=1,
        test=test,
        status=Status.FAIL,
        signature=Signature("AssertionError", title),
        bad=1,
        total=5,
        last_good=point("a"),
        first_bad=point("b"),
    )
    return dataclasses.replace(plain, **changes)


def cell_of(found: Finding) -> Cell | None:
    return CELL


def night(*findings: Finding, **changes: Any) -> Night:
    plain = Night(
        name="2026-11-30T22-00-00",
        folder=Path("/results/nightly/2026-11-30T22-00-00"),
        matrix="shams",
        started="2026-11-30T22:00:00+00:00",
        seconds=7260.0,
        findings=findings,
        cells=(NightCell(cell=CELL, state=State.DONE, counts={Status.FAIL: 1}, seconds=600.0),),
    )
    return dataclasses.replace(plain, **changes)


def test_new_failures_of_a_cell_are_tried_again_together_alone() -> None:
    found = [finding("t1"), finding("t2", kind=Class.OTHERWISE), finding("t3", kind=Class.STILL)]
    [again] = confirmations(found, cell_of, 20)
    assert (again.only, again.isolation, again.part) == (("t1", "t2"), "boot", 1.0)
    assert again.confirms == CELL.content
    assert again.content != CELL.content


def test_of_many_failures_one_of_each_cause_is_tried_first() -> None:
    titles = ["x", "x; also y", "x", "y", "z"]
    found = [finding(f"t{number}", title) for number, title in enumerate(titles)]
    [again] = confirmations(found, cell_of, 4)
    assert again.only == ("t0", "t3", "t4", "t1")


@pytest.mark.parametrize("change", [{"kind": Class.INFRA}, {"status": Status.MISS}])
def test_what_the_host_prevented_is_not_tried_again(change: dict[str, Any]) -> None:
    assert not list(confirmations([finding(**change)], cell_of, 20))


def test_failures_with_one_cause_are_searched_once() -> None:
    [search] = bisections([finding("t1"), finding("t2", "x; also y")], cell_of)
    assert (search.kind, search.only) == ("bisect", ("t1",))
    assert search.params == {"good": "a" * 40, "bad": "b" * 40}


@pytest.mark.parametrize(
    "change",
    [{"last_good": None}, {"last_good": point("b")}, {"kind": Class.STILL}, {"kind": Class.FIXED}],
)
def test_without_two_ends_nothing_is_searched(change: dict[str, Any]) -> None:
    assert not list(bisections([finding(**change)], cell_of))


@pytest.mark.parametrize("change", [{"kernel": "debian:7.3.4-1"}, {"commit": ""}])
def test_only_a_git_stream_is_searched(change: dict[str, Any]) -> None:
    cell = dataclasses.replace(CELL, **change)
    assert not list(bisections([finding()], lambda _: cell))


def test_what_finds_most_runs_first() -> None:
    base = dataclasses.replace(sham(1), kind="tests", identity="new")
    cells = {
        "mutants": dataclasses.replace(base, kind="mutants"),
        "debug": dataclasses.replace(base, flavour="debug"),
        "sample": dataclasses.replace(base, part=0.1),
        "seen": dataclasses.replace(base, identity="old"),
        "base": base,
        "confirmation": derived(base, confirms="x", only=("t",)),
    }
    found = by_worth(list(cells.values()), {text_of(cells["seen"])})
    names = [next(name for name, cell in cells.items() if cell is each) for each in found]
    assert names == ["confirmation", "base", "debug", "sample", "seen", "mutants"]


def test_a_list_shows_what_the_time_does_not_allow() -> None:
    cells = [sham(1), sham(2)]
    seconds = {cell.content: 1800.0 for cell in cells}
    lines = list(list_lines(cells, seconds, {}, 3000.0))
    assert [line.split()[0] for line in lines] == ["runs", "left", "cells:"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"findings": (finding(),)}, 1),
        ({"findings": (finding(kind=Class.OTHERWISE),)}, 1),
        ({"findings": (finding(kind=Class.STILL), finding(kind=Class.FIXED))}, 0),
        ({"cells": (NightCell(cell=CELL, state=State.FAILED),)}, 3),
        ({"cells": (NightCell(cell=CELL, state=State.LEFT),)}, 0),
        ({"trouble": "the database went away"}, 3),
    ],
)
def test_the_exit_status_of_a_night(changes: dict[str, Any], status: int) -> None:
    assert night(**changes).exit_status == status


def test_the_mail_of_a_night_is_plain_text_with_the_commit() -> None:
    searched = Bisected(
        stream="next",
        arch="x86_64",
        test="t1",
        good="a" * 40,
        bad="b" * 40,
        commit="c" * 40,
        title="mm: break it",
    )
    news = night(finding(), finding("t2", kind=Class.FIXED), bisected=(searched,))
    mail = mail_of(news, ["linux-mm@kvack.org"], "a@example.org")
    assert mail["Subject"] == "[REGRESSION] mmap hooks on next: 1 new, 1 fixed"
    text = mail.get_content()
    assert "* t1\n  shams next x86_64 base batch tcg\n  AssertionError: x\n" in text
    assert f"  first bad: 7.3-b ({'b' * 12})\n  first bad commit: {'c' * 40}\n" in text
    assert f"  #regzbot introduced: {'c' * 12}\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_mail_shows_failures_of_one_cause_once() -> None:
    arm = dataclasses.replace(LANE, arch="arm64")
    found = [finding("t1"), finding("t2", "x; also y"), finding("t3", lane=arm), finding("t4", "z")]
    text = mail_of(night(*found), [], "a@example.org").get_content()
    assert [line for line in text.splitlines() if line.startswith("* ")] == ["* t1", "* t4"]
    words = " ".join(text.split())
    assert "New failures: 4" in words
    assert f"3 tests for this reason: 2 in {LANE.key}, 1 in {arm.key}" in words


def test_a_night_without_news_has_no_mail() -> None:
    assert not wants_mail(night(finding(kind=Class.STILL)))


def test_the_summary_counts_all_classes_and_names_what_is_new() -> None:
    lines = list(summary_lines(night(finding())))
    assert "new t1: AssertionError: x" in lines
    assert any(line.startswith("1 new | 0 otherwise") for line in lines)
    assert lines[-2] == "cells: 1 done, in 2 h 01 min"


def test_the_summary_names_failures_of_one_cause_once() -> None:
    found = [finding("t1"), finding("t2", "y"), finding("t3"), finding("t4", kind=Class.STILL)]
    lines = list(summary_lines(night(*found)))
    assert [line for line in lines if line.startswith("new ")] == [
        "new t1: AssertionError: x",
        "new t2: AssertionError: y",
    ]
    assert f"    2 for this reason: 2 in {LANE.key}" in lines


def test_failures_on_other_kernels_are_not_alike() -> None:
    other = dataclasses.replace(LANE, stream="debian:7.3")
    found = [finding("t1"), finding("t2", lane=other), finding("t3", kind=Class.OTHERWISE)]
    assert [len(group) for group in alike(found, night(*found))] == [1, 1, 1]


def test_fixed_tests_are_alike_by_how_they_failed() -> None:
    plain = finding(kind=Class.FIXED, status=Status.PASS, signature=None)
    titles = {"t1": "x", "t2": "y", "t3": "x; also z"}
    found = [
        dataclasses.replace(plain, test=test, before_signature=Signature("AssertionError", title))
        for test, title in titles.items()
    ]
    groups = [[each.test for each in group] for group in alike(found, night(*found))]
    assert groups == [["t1", "t3"], ["t2"]]


def test_changed_facts_are_alike_if_one_fact_changed_in_one_way() -> None:
    found = [finding(f"t{number}", kind=Class.CHANGED, signature=None) for number in range(3)]
    changes = [
        FactChange("3 map m FILE:.vmas[0].perms", "rw-s", "r--s"),
        FactChange("12 map n FILE:.vmas[1].perms", "rw-s", "r--s"),
        FactChange("3 map m FILE:.vmas[0].perms", "rw-s", "rwxs"),
    ]
    facts = {
        (each.lane_id, each.test): (change,) for each, change in zip(found, changes, strict=True)
    }
    groups = alike(found, night(*found, fact_changes=facts))
    assert [[each.test for each in group] for group in groups] == [["t0", "t1"], ["t2"]]
