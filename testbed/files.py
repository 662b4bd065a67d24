# SPDX-License-Identifier: GPL-2.0
"""Small files that exist completely or not at all, and the folders of the settings."""

from __future__ import annotations

import os
from pathlib import Path

from testbed.errors import SetupError


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically: a reader, even after a crash, finds the old text or the new one."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        scratch.write_text(text)
        scratch.rename(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def make_folder(path: Path, setting: str, *, mode: int = 0o777) -> Path:
    """Make the folder that a setting names, unless it exists, and return it.

    Raises:
        SetupError: it cannot be made or written to. The hint names the setting.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        reason = "" if os.access(path, os.W_OK | os.X_OK) else "it is not writable"
    except OSError as exc:
        reason = str(exc.strerror)
    if reason:
        hint = f"set {setting} to a folder that you can write to"
        raise SetupError(f"cannot write to {path}: {reason}", hint=hint)
    return path
