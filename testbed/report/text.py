# SPDX-License-Identifier: GPL-2.0
"""Markdown helpers for reports."""

from __future__ import annotations

from collections.abc import Iterable

# Enough evidence for a table; the log has the rest.
_EVIDENCE_LINES = 12


def table_row(cells: Iterable[object]) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def table_head(*titles: str) -> list[str]:
    """Return the two rows at the top of a Markdown table."""
    return [table_row(titles), table_row(["---"] * len(titles))]


def first_lines(text: str) -> str:
    """Return the first lines of `text`, without empty lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:_EVIDENCE_LINES])
