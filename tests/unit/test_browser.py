# SPDX-License-Identifier: GPL-2.0
"""The pages in a real browser: no error, no request, no dead link, and filters that work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import night_parts
import page_parts
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from testbed.pages.nightpages import write_night_site
from testbed.pages.runpages import write_run_site

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no browser is installed: apt-get install chromium"
)

WIDTHS = (1280, 390)

_PATIENCE = 300_000  # milliseconds, on a busy host

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=_ARGUMENTS, timeout=_PATIENCE
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def run_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of a run that failed."""
    folder = tmp_path_factory.mktemp("results") / "2026-11-30T09-31-00"
    page_parts.broken_run(folder)
    for name in ("junit.xml", "guarantees.md"):
        (folder / name).touch()
    return write_run_site(folder)


@pytest.fixture(scope="module")
def night_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of a night with findings."""
    folder = tmp_path_factory.mktemp("nightly")
    with night_parts.a_history(folder) as history:
        return write_night_site(night_parts.a_night(folder / "2026-11-30", history))


@pytest.fixture(params=["run_site", "night_site"])
def first(request: pytest.FixtureRequest) -> Path:
    """The first page of each kind of site."""
    page = request.getfixturevalue(request.param)
    assert isinstance(page, Path)
    return page


class Visit:
    """One tab of the browser, and what went wrong in it."""

    def __init__(self, browser: Browser, width: int = 1280) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.set_default_timeout(_PATIENCE)
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", lambda request: self.troubles.append(request.url))
        self.page.on("request", lambda request: self._note(request.url))

    def open(self, path: Path, anchor: str = "") -> Page:
        self.page.goto(f"file://{path}{anchor}")
        return self.page

    def links(self) -> set[str]:
        return set(self.page.eval_on_selector_all("a", "links => links.map(link => link.href)"))

    def scrolls_sideways(self, width: int) -> bool:
        self.page.set_viewport_size({"width": width, "height": 900})
        return int(self.page.evaluate("document.documentElement.scrollWidth")) > width

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.troubles.append(f"it fetches {url}")


def test_every_page_opens_and_every_link_leads_somewhere(browser: Browser, first: Path) -> None:
    """It also looks at the width of each page: only a table or a log may scroll sideways."""
    visit = Visit(browser)
    waiting, seen = [first], {first}
    while waiting:
        page = waiting.pop()
        visit.open(page)
        assert [width for width in WIDTHS if visit.scrolls_sideways(width)] == [], page
        anchors = set(visit.page.eval_on_selector_all("[id]", "all => all.map(one => one.id)"))
        for link in visit.links():
            parts = urlsplit(link)
            target = Path(unquote(parts.path))
            assert target.exists(), f"{page}: {link}"
            if target == page and parts.fragment:
                assert parts.fragment in anchors, f"{page}: {link}"
            if target.suffix == ".html" and target not in seen:
                seen.add(target)
                waiting.append(target)
    assert visit.troubles == []
    assert seen >= set(first.parent.rglob("*.html"))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_verdict_is_seen_at_once(browser: Browser, first: Path, width: int) -> None:
    box = Visit(browser, width).open(first).locator(".verdict h1").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 300


def shown(page: Page) -> int:
    return page.locator("[data-row]:visible").count()


def test_words_and_ticks_select_rows(browser: Browser, run_site: Path) -> None:
    page = Visit(browser).open(run_site)
    whole = shown(page)
    assert whole == 3
    page.fill("input[type=search]", "x86_64 THREE-level")
    assert shown(page) == 1
    assert page.locator("form.filter output").inner_text() == "1 of 3"
    page.fill("input[type=search]", "")
    page.uncheck("input[value=FAIL]")
    assert shown(page) == whole - 2


def test_a_link_to_a_selection_shows_the_same(browser: Browser, run_site: Path) -> None:
    page = Visit(browser).open(run_site)
    page.fill("input[type=search]", "three-level")
    page.uncheck("input[value=MISS]")
    address = page.evaluate("location.hash")
    again = Visit(browser).open(run_site, address)
    assert shown(again) == shown(page) == 1
    assert not again.is_checked("input[value=MISS]")


def test_a_badge_leads_to_its_class(browser: Browser, night_site: Path) -> None:
    page = Visit(browser).open(night_site)
    page.click(".badges a[href='#flaky']")
    assert page.locator("#flaky").bounding_box()["y"] < 900  # type: ignore[index]
    assert shown(page) == page.locator("[data-row]").count()


def test_the_page_is_readable_in_the_dark(browser: Browser, run_site: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.set_default_timeout(_PATIENCE)
    page.goto(f"file://{run_site}")
    style = "getComputedStyle(document.body)"
    back, front = (page.evaluate(f"{style}.{name}") for name in ("backgroundColor", "color"))
    assert sum(_channels(back)) < 150
    assert sum(_channels(front)) > 600


def _channels(colour: str) -> list[int]:
    return [int(each) for each in colour.removeprefix("rgb(").removesuffix(")").split(",")]
