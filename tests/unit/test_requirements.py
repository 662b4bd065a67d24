# SPDX-License-Identifier: GPL-2.0
"""The locked Python packages install on every supported host."""

from __future__ import annotations

import importlib.metadata

import pytest
from packaging.specifiers import SpecifierSet

# The Python of Debian 12, the oldest supported host. A developer's own may be a later 3.11.
_OLDEST = "3.11.2"


@pytest.mark.parametrize("name", sorted({each.name for each in importlib.metadata.distributions()}))
def test_a_package_accepts_the_python_of_debian_12(name: str) -> None:
    wanted = importlib.metadata.metadata(name).json.get("requires_python", "")
    assert _OLDEST in SpecifierSet(str(wanted))
