# SPDX-License-Identifier: GPL-2.0
"""The documentation as a site; scripts/docs builds it."""

from __future__ import annotations

import importlib.metadata
import logging
import re

import click
from sphinx.application import Sphinx

project = "mmap-testbed"
version = release = importlib.metadata.version(project)

extensions = ["myst_parser", "sphinx_click"]
exclude_patterns = ["_build"]
nitpicky = True
smartquotes = False  # options are written with two hyphens

# Headings down to this level are targets of links, under the names that GitHub gives them.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {version}"

# A style of the theme (a11y_pygments) makes the whole process log at this level.
logging.getLogger("alembic").setLevel(logging.WARNING)


def setup(app: Sphinx) -> None:
    """Make reStructuredText of click's help texts, which are plain text."""
    app.connect("sphinx-click-process-description", _description)
    app.connect("sphinx-click-process-options", _options)


def _description(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """Examples, which sphinx-click turns into lines that begin with a bar, become code."""
    made = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("| "):
            if not before.startswith("| "):
                made += ["", ".. code-block:: text", ""]
            made.append(f"   {line[2:]}")
        else:
            made.append(_escaped(line))
    lines[:] = made


def _options(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """sphinx-click strips the closing bracket of a metavar such as A[,B]."""
    lines[:] = [
        re.sub(r"<([^]]*\[[^]]*)>$", r"<\1]>", line)
        if line.startswith(".. option::")
        else _escaped(line)
        for line in lines
    ]


def _escaped(line: str) -> str:
    """Code stands between single backticks in a help text, and an asterisk is an asterisk."""
    line = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
    return re.sub(r"(?<!\*)\*(?!\*)", r"\\*", line)
