# SPDX-License-Identifier: GPL-2.0
"""Small files that exist completely or not at all, and the folders of the settings."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import InfraError, SetupError

# What reading a file raises whose content is damaged, or that of another program.
DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def user_path(text: str) -> Path:
    """Return the path that a user has written, with `~` expanded. There may be nothing.

    Raises:
        SetupError: no file can have this name.
    """
    try:
        path = Path(text).expanduser()
        os.stat(path)
    except FileNotFoundError:
        return path
    except (RuntimeError, ValueError) as exc:  # no such user; a NUL
        raise SetupError(f"{text!r} is not a path: {exc}") from exc
    except OSError as exc:
        if exc.errno == errno.ENAMETOOLONG:
            raise SetupError(f"{text!r} is not a path: {exc.strerror}") from exc
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically: a reader, even after a crash, finds the old text or the new one.

    Raises:
        InfraError: the host cannot write it, for example because the disk is full.
    """
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    with _blamed(path):
        try:
            # Names of files may have bytes that are not UTF-8.
            scratch.write_text(text, errors="surrogateescape")
            scratch.rename(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def append_whole(path: Path, content: bytes) -> None:
    """Append to a file: all of `content`, or nothing. Only a kill leaves a part of it.

    Raises:
        InfraError: the host cannot write it, for example because the disk is full.
    """
    with _blamed(path), path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(content)
            while left:
                # On a disk that is nearly full, the first write succeeds in part.
                left = left[file.write(left) :]
        except BaseException:
            file.truncate(end)
            raise


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Turn an error of the host into one line that names the file; write(2) does not name it."""
    try:
        yield
    except OSError as exc:
        hint = "make room there, or raise the quota" if exc.errno in _FULL else ""
        raise InfraError(f"cannot write {path}: {exc.strerror}", hint=hint) from exc


@contextmanager
def full_disk_blamed(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk, which seldom names a file, into one line that names `folder`.

    Raises:
        InfraError: the block met a full disk.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        with _blamed(Path(exc.filename or folder)):
            raise


# A file system, a quota, or the limit of a file's size (RLIMIT_FSIZE) is exhausted.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
