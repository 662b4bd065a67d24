# SPDX-License-Identifier: GPL-2.0
"""Identities of a tree's text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """Identities of a text. Texts with equal identities are equal."""

    whole: str  # of all files
    kconfig: str  # of the files that Kconfig may read


def shapes_configuration(name: str) -> bool:
    """Whether a file may affect Kconfig's result. Only C files outside scripts/ cannot."""
    return name.startswith("scripts/") or not name.endswith((".c", ".h"))
