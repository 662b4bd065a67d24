# SPDX-License-Identifier: GPL-2.0
"""What a tree's text is known by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """Two texts with equal names are equal."""

    whole: str  # names all files
    kconfig: str  # names those that Kconfig may read


def shapes_configuration(name: str) -> bool:
    """Whether a file may alter what Kconfig says: all but C files outside scripts/ may."""
    return name.startswith("scripts/") or not name.endswith((".c", ".h"))
