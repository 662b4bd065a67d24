# SPDX-License-Identifier: GPL-2.0
"""The extra `fuzz`: a package that only this room needs."""

from __future__ import annotations

import importlib.util

from testbed.errors import SetupError

_PACKAGE = "hypothesis"


def require_extra() -> None:
    """Raise SetupError if the package is missing. Call this before the room's other imports."""
    if importlib.util.find_spec(_PACKAGE) is None:
        raise SetupError(
            f"the Python package {_PACKAGE} is missing", hint="pip install 'mmap-testbed[fuzz]'"
        )
