# SPDX-License-Identifier: GPL-2.0
"""The pages of one run. A new page is one more entry of PAGES."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.pages import burnpage, cellpage, failurepage, heatmap, hookpage, overview
from testbed.pages.runsite import RunSite
from testbed.pages.site import INDEX, Link, Page, write_pages
from testbed.results.model import Run
from testbed.results.store import read_run


@dataclass(frozen=True)
class Kind:
    """A kind of pages; one with a link stands in the navigation of all pages, if it has a page."""

    pages: Callable[[RunSite], Iterable[Page]]
    link: Link | None = None


PAGES = (
    Kind(overview.pages, Link(INDEX, "Results")),
    Kind(heatmap.pages, Link(heatmap.PATH, "Guarantees")),
    Kind(hookpage.pages, Link(hookpage.PATH, "Hooks")),
    Kind(burnpage.pages, Link(burnpage.PATH, "Burn-down")),
    Kind(cellpage.pages),
    Kind(failurepage.pages),
)


def write_run_site(folder: Path, run: Run | None = None) -> Path:
    """Write the pages of the run in `folder`, and return the first one.

    Raises:
        SetupError: the folder holds no run.
        InfraError: the host cannot write, for example because the disk is full.
    """
    site = RunSite(folder, run or read_run(folder))
    pages = [page for kind in PAGES for page in kind.pages(site)]
    paths = {page.path for page in pages}
    links = [kind.link for kind in PAGES if kind.link is not None and kind.link.path in paths]
    write_pages(folder, pages, links)
    return folder / INDEX
