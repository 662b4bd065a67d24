# SPDX-License-Identifier: GPL-2.0
"""The pages of a night, and of the past of its findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import night_parts
import pytest
from test_pages import text_of

from testbed.history.database import History
from testbed.history.records import Class, Square
from testbed.pages.nightpages import square_kind, trend_points, write_night_site
from testbed.pages.nightsite import NightSite
from testbed.results.model import Status


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    with night_parts.a_history(tmp_path_factory.mktemp("history")) as opened:
        yield opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, kept: History) -> NightSite:
    """A night with findings, whose pages are written."""
    found = night_parts.a_night(tmp_path_factory.mktemp("nightly") / "2026-11-30", kept)
    write_night_site(found)
    return found


def test_the_first_words_of_a_night_say_what_is_to_be_done(site: NightSite) -> None:
    text = text_of(site.night.folder / "index.html")
    new = len(site.of_class(Class.NEW))
    assert new == 4
    assert f"Night Flaky {new} new failures, for 2 reasons Tests fail that were good" in text
    assert "4new 0otherwise" in text.replace(" new", "new").replace(" otherwise", "otherwise")


def test_a_night_shows_what_it_knows_about_a_failure(site: NightSite) -> None:
    text = text_of(site.night.folder / "index.html")
    for part in (
        "first bad on 7.3.4 (2026-11-30)",
        "last good on 7.3.6 (night-6)",
        "Commit aaaaaaaaaaaa mm: forget the pgoff",
        "next x86_64 base batch failed the disk <is> full",
        "debian:7.3 x86_64 base clone tcg",
        "1/7",
    ):
        assert part in text, part


def test_each_new_failure_leads_to_its_page(site: NightSite) -> None:
    index = (site.night.folder / "index.html").read_text()
    page = next((site.night.folder / "cells").rglob("*pgoff-stack*.html"))
    assert f'href="{page.relative_to(site.night.folder)}"' in index
    assert (site.night.folder / "cells/0123456789ab/run/index.html").exists()


def test_failures_for_one_reason_are_one_row_that_opens(site: NightSite) -> None:
    index = (site.night.folder / "index.html").read_text()
    new = index.partition('<h2 id="new">')[2].partition("<h2 ")[0]
    assert new.count('<tr data-kind="new"') == 2
    assert new.count("<summary>1 more for the same reason</summary>") == 2
    for finding in site.of_class(Class.NEW):
        assert finding.test.rpartition("::")[2] in new
    assert "debian:7.3 x86_64 base clone tcg (1)" in text_of(site.night.folder / "index.html")


def test_a_flaky_test_has_its_strip(site: NightSite) -> None:
    (finding,) = site.of_class(Class.FLAKY)
    assert finding.test == night_parts.FLIPPING
    strip = site.strips[finding.lane_id, finding.test]
    assert [square_kind(each) for each in strip] == ["good", "bad"] * 3 + ["good"]
    assert "3/7" in text_of(site.night.folder / "pages" / "flaky.html")


def test_the_past_of_a_test_is_shown_newest_first(site: NightSite) -> None:
    (page,) = site.night.folder.glob("pages/test-*test_flips*")
    text = text_of(page)
    assert text.index("2026-11-30") < text.index("night-6") < text.index("night-1")
    assert "FAIL 0.00 late" in text


def test_a_quiet_night_says_that_there_is_nothing_to_do(tmp_path: Path) -> None:
    with night_parts.a_history(tmp_path) as history:
        quiet = night_parts.a_night(tmp_path / "night", history, failing=False, earlier=0)
        text = text_of(write_night_site(quiet))
    assert "Nothing new There is nothing to do." in text


def test_a_trend_ends_at_the_right_and_reaches_the_top() -> None:
    assert trend_points([0, 4, 2]) == "0.0,24.0 77.5,2.0 155.0,13.0"
    assert trend_points([]) == ""


@pytest.mark.parametrize(
    ("status", "both", "kind"),
    [
        (Status.FAIL, False, "bad"),
        (Status.XFAIL, False, "good"),
        (Status.MISS, False, "none"),
        (None, False, "none"),
        (Status.PASS, True, "both"),
    ],
)
def test_a_square_has_the_colour_of_its_outcome(
    status: Status | None, both: bool, kind: str
) -> None:
    square = Square(seq=1, run="r", kernel="k", cell=1, status=status, both=both)
    assert square_kind(square) == kind
