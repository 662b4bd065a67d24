# SPDX-License-Identifier: GPL-2.0
"""Pieces of the Markdown that reports are made of."""

from __future__ import annotations

from collections.abc import Iterable

# A table's reader wants so much evidence; the log has the rest.
_EVIDENCE_LINES = 12


def table_row(cells: Iterable[object]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def table_head(*titles: str) -> list[str]:
    """The two rows that a Markdown table begins with."""
    return [table_row(titles), table_row(["---"] * len(titles))]


def first_lines(text: str) -> str:
    """The beginning of some evidence, without empty lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:_EVIDENCE_LINES])
