# SPDX-License-Identifier: GPL-2.0
"""The page of the kernel's own hooks, and how the run reached them."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.pages.runsite import RunSite
from testbed.pages.site import FOLDER, Page
from testbed.report.hooks import reach_summary, reached, read_hooks

PATH = f"{FOLDER}/hooks.html"


def pages(site: RunSite) -> Iterator[Page]:
    hooks = read_hooks(site.folder)
    if summary := reach_summary(hooks, site.run):
        values = {"reaches": reached(hooks, site.run.cases), "summary": summary}
        yield Page(PATH, "hooks.html", "Hooks of the kernel", values)
