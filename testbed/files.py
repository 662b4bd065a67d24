# SPDX-License-Identifier: GPL-2.0
"""Small files that exist completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically: a reader, even after a crash, finds the old text or the new one."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        scratch.write_text(text)
        scratch.rename(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
