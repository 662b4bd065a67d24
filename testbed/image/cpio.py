# SPDX-License-Identifier: GPL-2.0
"""Lists of files to cpio archives.

The kernel's own usr/gen_init_cpio packs them: files are root's and device
nodes are made without anyone being root. Several uncompressed archives in a
row are one initramfs (Documentation/driver-api/early-userspace/buffer-format.rst),
so an archive that seldom changes is packed once and others are put behind it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from testbed.errors import InfraError
from testbed.process import run


def directory(path: str, mode: int = 0o755) -> str:
    """The line for a directory."""
    return f"dir {_word(path)} {mode:04o} 0 0"


def file(path: str, source: str, mode: int = 0o644) -> str:
    """The line for a regular file; `source` is relative to the folder that is packed from."""
    return f"file {_word(path)} {_word(source)} {mode:04o} 0 0"


def symlink(path: str, target: str) -> str:
    """The line for a symbolic link."""
    return f"slink {_word(path)} {_word(target)} 0777 0 0"


def character_device(path: str, mode: int, major: int, minor: int) -> str:
    """The line for a device node."""
    return f"nod {_word(path)} {mode:04o} 0 0 c {major} {minor}"


def parents(paths: Iterable[str]) -> list[str]:
    """The lines for all directories that the paths stand in, outer ones first."""
    found = {parent for path in paths for parent in PurePosixPath(path).parents}
    return [directory(str(parent)) for parent in sorted(found) if parent.name]


def pack(lines: Sequence[str], *, gen_init_cpio: Path, folder: Path, output: Path) -> None:
    """Pack what the lines list, with all times zero, so that equal content is equal bytes.

    Args:
        folder: where the sources of files are looked up.

    Raises:
        CommandError: a source is missing, or the disk is full.
    """
    listing = output.with_suffix(".list")
    listing.write_text("\n".join(lines) + "\n")
    run([gen_init_cpio, "-t", "0", "-o", output, listing], cwd=folder)
    listing.unlink()


def concatenate(archives: Sequence[Path], output: Path) -> None:
    """Archives in a row. gen_init_cpio pads each to 512 bytes; the kernel wants 4."""
    with output.open("xb") as sink:
        output.chmod(0o600)  # a host key is in it
        for archive in archives:
            with archive.open("rb") as source:
                shutil.copyfileobj(source, sink)


def _word(text: str) -> str:
    # The list has no way to quote.
    if not text or any(char.isspace() for char in text):
        raise InfraError(f"{text!r} cannot go into an initramfs: a name with white space")
    return text
