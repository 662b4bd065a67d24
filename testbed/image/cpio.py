# SPDX-License-Identifier: GPL-2.0
"""Cpio archives from lists of files.

The kernel's own usr/gen_init_cpio packs them. It needs no root privilege for files
of root and for device nodes. Several uncompressed archives in a row are one
initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). An
archive that seldom changes is thus packed once, and others are appended.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from testbed.errors import InfraError
from testbed.process import run


def directory(path: str, mode: int = 0o755) -> str:
    """Return the line for a directory."""
    return f"dir {_word(path)} {mode:04o} 0 0"


def file(path: str, source: str, mode: int = 0o644) -> str:
    """Return the line for a regular file; `source` is relative to the folder given to `pack`."""
    return f"file {_word(path)} {_word(source)} {mode:04o} 0 0"


def symlink(path: str, target: str) -> str:
    """Return the line for a symbolic link."""
    return f"slink {_word(path)} {_word(target)} 0777 0 0"


def character_device(path: str, mode: int, major: int, minor: int) -> str:
    """Return the line for a character device."""
    return f"nod {_word(path)} {mode:04o} 0 0 c {major} {minor}"


def parents(paths: Iterable[str]) -> list[str]:
    """Return the lines for all directories above the paths, outer ones first."""
    found = {parent for path in paths for parent in PurePosixPath(path).parents}
    return [directory(str(parent)) for parent in sorted(found) if parent.name]


def pack(lines: Sequence[str], *, gen_init_cpio: Path, folder: Path, output: Path) -> None:
    """Pack the listed files. All times are zero, so equal content gives equal bytes.

    Args:
        folder: the folder that the sources of files are relative to.

    Raises:
        CommandError: a source is missing, or the disk is full.
    """
    listing = output.with_suffix(".list")
    listing.write_text("\n".join(lines) + "\n")
    run([gen_init_cpio, "-t", "0", "-o", output, listing], cwd=folder)
    listing.unlink()


def concatenate(archives: Sequence[Path], output: Path) -> None:
    """Write archives one after the other.

    The kernel requires a multiple of 4 bytes; gen_init_cpio pads each archive to 512.
    """
    with output.open("xb") as sink:
        output.chmod(0o600)  # it contains a host key
        for archive in archives:
            with archive.open("rb") as source:
                shutil.copyfileobj(source, sink)


def _word(text: str) -> str:
    # The format of the list has no quotes.
    if not text or any(char.isspace() for char in text):
        raise InfraError(f"a name with white space cannot go into an initramfs: {text!r}")
    return text
