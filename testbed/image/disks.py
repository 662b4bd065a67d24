# SPDX-License-Identifier: GPL-2.0
"""Disks with one file system each, for tests that map files on them.

The host's mkfs tools make them once. A VM writes to an overlay, which ends with the VM.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import Verify, digest
from testbed.context import Context
from testbed.image.makers import MAKERS
from testbed.process import find_tool, run

_LAYOUT = "1"

# The content of the file `pattern` in the root of a read-only file system. Each part is as long
# as the smallest page; part n repeats the word PATTERN + n, in little endian. The whole file is
# as long as four of the largest pages.
PATTERN = 0x7061747465726E00
PART = 4 << 10
PARTS = 64


@dataclass(frozen=True)
class Disk:
    """A raw image. Its name is its serial number in the guest."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """The command that makes a file system. In it `disk` and `folder` stand for the two paths.

    Without a command, testbed/image/makers.py makes it.
    """

    name: str
    package: str = ""  # the Debian package of the program
    words: tuple[str, ...] = ()
    maker: str = ""
    mebibytes: int = 0  # the smallest size that the program accepts; 0 if it sets the size itself


_FILE_SYSTEMS = (
    FileSystem(
        name="ext2",
        package="e2fsprogs",
        words=("mkfs.ext2", "-q", "-F", "-b", "4096", "disk"),
        mebibytes=16,
    ),
    FileSystem(
        name="ext4",
        package="e2fsprogs",
        words=("mkfs.ext4", "-q", "-F", "-b", "4096", "disk"),
        mebibytes=16,
    ),
    FileSystem(
        name="xfs",
        package="xfsprogs",
        words=("mkfs.xfs", "-q", "-s", "size=4096", "disk"),
        mebibytes=300,
    ),
    FileSystem(
        name="btrfs",
        package="btrfs-progs",
        words=("mkfs.btrfs", "-q", "--sectorsize", "4096", "disk"),
        mebibytes=128,
    ),
    FileSystem(
        name="f2fs",
        package="f2fs-tools",
        words=("mkfs.f2fs", "-q", "disk"),
        mebibytes=64,
    ),
    FileSystem(
        name="squashfs",
        package="squashfs-tools",
        words=("mksquashfs", "folder", "disk", "-quiet", "-no-progress", "-noI", "-noD", "-noF"),
    ),
    FileSystem(
        name="erofs",
        package="erofs-utils",
        words=("mkfs.erofs", "disk", "folder"),
    ),
)


def build_disks(ctx: Context) -> tuple[Disk, ...]:
    """Return the disks of every VM. Make those that the cache lacks.

    Raises:
        SetupError: a mkfs program is not installed.
        CommandError: a mkfs program failed.
    """
    return tuple(build_disk(kind, ctx) for kind in _FILE_SYSTEMS)


def build_disk(kind: FileSystem, ctx: Context) -> Disk:
    """Return a disk. Make it if the cache lacks it. Raises as build_disks() does."""

    def make(scratch: Path) -> None:
        with ctx.progress.step(f"disk with {kind.name}"):
            _make(kind, scratch)

    key = digest(_LAYOUT, repr(kind), f"{PATTERN:x} {PART} {PARTS}")
    # Most of a disk is a hole. Verify.DIGEST would read it all, which takes long.
    return Disk(kind.name, ctx.cache.get("disk", key, make, verify=Verify.STAT) / "disk.img")


def _make(kind: FileSystem, scratch: Path) -> None:
    disk, folder = scratch / "disk.img", scratch / "folder"
    folder.mkdir()
    (folder / "pattern").write_bytes(pattern())
    if kind.mebibytes:
        disk.touch()
        os.truncate(disk, kind.mebibytes << 20)
    if kind.maker:
        disk.write_bytes(MAKERS[kind.maker](kind.mebibytes << 20))
        return
    program, *words = kind.words
    places: dict[str, str | Path] = {"disk": disk, "folder": folder}
    run([find_tool(program, package=kind.package), *(places.get(word, word) for word in words)])


def disk_programs() -> dict[str, str]:
    """Return the Debian package of each program that makes a disk."""
    return {kind.words[0]: kind.package for kind in _FILE_SYSTEMS}


def pattern() -> bytes:
    """Return the content of the file `pattern`."""
    return b"".join(struct.pack("<Q", PATTERN + part) * (PART // 8) for part in range(PARTS))
