# SPDX-License-Identifier: GPL-2.0
"""A hint for a word that is not known: the nearest one that is, or all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that a user may have meant; empty where none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def suggest(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """A hint in one line.

    Args:
        known: what `word` should have been one of.
        aliases: other names that a user may have meant, and the known word for each.
    """
    words, others = list(known), aliases or {}
    near = nearest(word, [*words, *others])
    return f"did you mean {others.get(near, near)}?" if near else f"known are {', '.join(words)}"
