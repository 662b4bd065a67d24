# SPDX-License-Identifier: GPL-2.0
"""Small files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file; whoever reads it meanwhile, or after a crash, finds all of it or what was."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        scratch.write_text(text)
        scratch.rename(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
