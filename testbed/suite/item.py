# SPDX-License-Identifier: GPL-2.0
"""What a collected test shows before it runs: its parameters and its markers."""

from __future__ import annotations

from typing import Any

import pytest


def parameters(item: pytest.Item) -> dict[str, Any]:
    """Return the parameters of a test by name; empty if it has none."""
    callspec = getattr(item, "callspec", None)
    return dict(callspec.params) if callspec is not None else {}


def arch_of(item: pytest.Item) -> str:
    """Return the architecture of a test; empty if it has none."""
    return str(parameters(item).get("arch", ""))


def guarantees_of(item: pytest.Item) -> tuple[int, ...]:
    """Return the numbers of the guarantees that a test tests, each once and sorted."""
    markers = item.iter_markers("guarantee")
    return tuple(sorted({number for marker in markers for number in marker.args}))
