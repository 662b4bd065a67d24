# SPDX-License-Identifier: GPL-2.0
"""Hints for unknown words: the nearest known word, or all known words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that a user probably meant; empty if none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def suggest(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Return a hint of one line.

    Args:
        known: the valid words.
        aliases: other names that a user may give, and the known word for each.
    """
    words, others = list(known), aliases or {}
    near = nearest(word, [*words, *others])
    return f"did you mean {others.get(near, near)}?" if near else f"choose from {', '.join(words)}"
