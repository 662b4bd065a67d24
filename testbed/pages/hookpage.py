# SPDX-License-Identifier: GPL-2.0
"""The page of the kernel's own hooks, and how the run reached them."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.pages.runsite import RunSite
from testbed.pages.site import FOLDER, Page
from testbed.report.hooks import reach_summary, reached

PATH = f"{FOLDER}/hooks.html"


def pages(site: RunSite) -> Iterator[Page]:
    if any(case.reaches for case in site.run.cases):
        values = {"reaches": reached(site.run.cases), "summary": reach_summary(site.run)}
        yield Page(PATH, "hooks.html", "Hooks of the kernel", values)
