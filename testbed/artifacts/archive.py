# SPDX-License-Identifier: GPL-2.0
"""A folder as one compressed file: equal files, equal bytes."""

from __future__ import annotations

import tarfile
from pathlib import Path

import zstandard

from testbed.errors import InfraError

SUFFIX = ".tar.zst"

# Logs shrink to a fifth at any level; a higher one takes longer and gains little.
_LEVEL = 3


def pack(folder: Path, archive: Path) -> None:
    """Write the files of a folder into an archive. Times and owners are left out.

    Raises:
        OSError: a file cannot be read, or the archive cannot be written.
    """
    with (
        archive.open("wb") as file,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or path.is_file() or path.is_dir():  # no socket, no FIFO
                name = str(path.relative_to(folder))
                tar.add(path, name, recursive=False, filter=_without_origin)


def _without_origin(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of an archive into a folder. Members that lead out of it are refused.

    Raises:
        InfraError: the archive is damaged, or has such a member.
        OSError: a file cannot be written.
    """
    try:
        with (
            archive.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as exc:
        raise InfraError(f"cannot unpack {archive}: {exc}") from exc
