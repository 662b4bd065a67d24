# SPDX-License-Identifier: GPL-2.0
"""Why hooks of the kernel are not reached by tests, or only directly (unreached.toml)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from testbed.tomlfile import read_toml

REASONS = Path(__file__).with_name("unreached.toml")


@cache
def unreached() -> Mapping[str, str]:
    """Return the reasons by the names of hooks, FILE:OBJECT."""
    groups = read_toml(REASONS, "list of hooks that are not reached", ("reason",))["reason"]
    return {hook: group["why"] for group in groups for hook in group["hooks"]}
