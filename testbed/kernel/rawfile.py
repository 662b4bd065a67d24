# SPDX-License-Identifier: GPL-2.0
"""Read files that may hold patches: compressed ones, FIFOs and standard input too."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import zstandard

from testbed.errors import SetupError

# The largest patches of the kernel's history have some 30 MB: headers of graphics drivers.
LIMIT = 64_000_000  # bytes

# `--series -` reads it.
STDIN = Path("-")

_DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError)


def _open_gzip(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=file))


def _open_xz(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], lzma.LZMAFile(file))


def _open_bz2(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], bz2.BZ2File(file))


def _open_zstd(file: IO[bytes]) -> IO[bytes]:
    packed = file.read()
    reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    text = reader.read(LIMIT + 1)
    # A reader takes the end of a file that is cut off for the end of its data.
    if len(text) <= LIMIT:
        _refuse_cut_off(packed)
    return io.BytesIO(text)


def _refuse_cut_off(packed: bytes) -> None:
    while packed:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frame.decompress(packed)
        if not frame.eof:
            raise EOFError("its end is missing")
        packed = frame.unused_data


# The bytes that a compressed file begins with, and a function that decompresses it.
_OPENERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _open_gzip,
    b"\xfd7zXZ\0": _open_xz,
    b"BZh": _open_bz2,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}

# The endings that these files usually have.
COMPRESSED = (".gz", ".xz", ".bz2", ".zst")


def is_readable(path: Path) -> bool:
    """Whether a path is a file, a FIFO, a character device or standard input."""
    try:
        return path == STDIN or path.is_file() or path.is_fifo() or path.is_char_device()
    except (OSError, ValueError):
        return False  # a name that no file can have


def read_raw(path: Path) -> bytes:
    """Read the bytes of a file, decompressed where its first bytes say so.

    Raises:
        SetupError: the file cannot be read, is damaged, or exceeds LIMIT.
    """
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(LIMIT + 1) if sys.stdin is not None else b""
        else:
            with path.open("rb") as file:
                data = file.read(LIMIT + 1)
    except OSError as exc:
        raise SetupError(f"cannot read the patch {path}: {exc.strerror}") from exc
    text = _within_limit(_decompressed(_within_limit(data, path), path), path)
    # git skips what editors and scripts leave in front of a mail or a diff.
    return text.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")


def _decompressed(data: bytes, path: Path) -> bytes:
    for magic, opener in _OPENERS.items():
        if data.startswith(magic):
            try:
                with opener(io.BytesIO(data)) as file:
                    return file.read(LIMIT + 1)
            except _DAMAGE as exc:
                raise SetupError(f"{path} is truncated or damaged: {exc}") from exc
    return data


def _within_limit(data: bytes, path: Path) -> bytes:
    if len(data) > LIMIT:
        raise SetupError(f"{path} is refused: it is larger than {LIMIT / 1e6:.0f} MB, the limit")
    return data
