# SPDX-License-Identifier: GPL-2.0
"""Folders that one process holds. A claim ends with its process, so that a crash leaves none.

A claim is a flock(2) on the folder itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from testbed.errors import SetupError


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for the block, so that no other process that claims it works in it.

    Args:
        wait: until no other process holds it.

    Raises:
        SetupError: another process holds it.
    """
    with closing(_Held(folder)) as held:
        if not held.take(wait=wait):
            message = f"{folder.name} still runs in another process"
            raise SetupError(message, hint="wait until it ends")
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a process holds a folder now."""
    with closing(_Held(folder)) as held:
        return not held.take()


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Provide a new folder for temporary files, with a short path. It is gone after the block.

    What processes of this user have left that were killed, with this purpose, is removed.
    """
    prefix = f"testbed-{purpose}-{os.getuid()}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_unclaimed(left)
    folder, held = _new_claimed(prefix)
    with closing(held):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Held:
    """An open folder."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def take(self, *, wait: bool = False) -> bool:
        """Claim the folder. Return False if another process holds it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    @property
    def is_gone(self) -> bool:
        """Whether the folder was removed since it was opened."""
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        os.close(self._fd)


def _remove_unclaimed(folder: Path) -> None:
    with suppress(OSError), closing(_Held(folder)) as held:  # another process removes it as well
        if held.take():
            shutil.rmtree(folder, ignore_errors=True)


def _new_claimed(prefix: str) -> tuple[Path, _Held]:
    """Make a folder, and claim it before another process takes it for one that is left."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with suppress(FileNotFoundError):
            held = _Held(folder)
            if held.take() and not held.is_gone:
                return folder, held
            held.close()
