# SPDX-License-Identifier: GPL-2.0
"""Pages, and the folder that they are written to. This module alone uses jinja2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from testbed.files import write_whole

INDEX = "index.html"

# The folder of all pages but the index, beside the other files of a run.
FOLDER = "pages"


@dataclass(frozen=True)
class Page:
    """One page: its place below the folder of the site, its template, and what it shows."""

    path: str
    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """A place of a site, as its pages list it."""

    path: str
    title: str


def write_pages(folder: Path, pages: Iterable[Page], navigation: Iterable[Link] = ()) -> int:
    """Write pages below `folder`, and return their number. Older pages of equal paths are replaced.

    Raises:
        InfraError: the host cannot write, for example because the disk is full.
    """
    environment, links, count = _environment(), tuple(navigation), 0
    for page in pages:
        target = folder / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, _rendered(environment, page, links))
        count += 1
    return count


def _rendered(environment: jinja2.Environment, page: Page, navigation: tuple[Link, ...]) -> str:
    # Links are relative, so that the folder can be moved, packed and opened from a disk.
    root = "../" * (len(PurePosixPath(page.path).parts) - 1)
    template = environment.get_template(page.template)
    return template.render(page.values, page=page, root=root, navigation=navigation)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
