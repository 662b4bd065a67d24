# SPDX-License-Identifier: GPL-2.0
"""Disks with a file system each, for tests that map files on them.

Made once by the host's mkfs tools. A VM writes to an overlay that goes with it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import Verify, digest
from testbed.context import Context
from testbed.process import find_tool, run

_LAYOUT = "1"

# What the file `pattern` at the root of a read-only file system holds: parts as long as the
# smallest page, of which part n is PATTERN + n again and again, in little endian. It has four of
# the largest pages.
PATTERN = 0x7061747465726E00
PART = 4 << 10
PARTS = 64


@dataclass(frozen=True)
class Disk:
    """A raw image. The guest knows it by its name, which is its serial number there."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class _FileSystem:
    """How a file system is made: `disk` and `folder` stand in the words for those paths."""

    name: str
    package: str  # Debian's, that brings the program
    words: tuple[str, ...]
    mebibytes: int = 0  # 0 where the program decides; the smallest that it takes elsewhere


_FILE_SYSTEMS = (
    _FileSystem(
        name="ext2",
        package="e2fsprogs",
        words=("mkfs.ext2", "-q", "-F", "-b", "4096", "disk"),
        mebibytes=16,
    ),
    _FileSystem(
        name="ext4",
        package="e2fsprogs",
        words=("mkfs.ext4", "-q", "-F", "-b", "4096", "disk"),
        mebibytes=16,
    ),
    _FileSystem(
        name="xfs",
        package="xfsprogs",
        words=("mkfs.xfs", "-q", "-s", "size=4096", "disk"),
        mebibytes=300,
    ),
    _FileSystem(
        name="btrfs",
        package="btrfs-progs",
        words=("mkfs.btrfs", "-q", "--sectorsize", "4096", "disk"),
        mebibytes=128,
    ),
    _FileSystem(
        name="f2fs",
        package="f2fs-tools",
        words=("mkfs.f2fs", "-q", "disk"),
        mebibytes=64,
    ),
    _FileSystem(
        name="squashfs",
        package="squashfs-tools",
        words=("mksquashfs", "folder", "disk", "-quiet", "-no-progress", "-noI", "-noD", "-noF"),
    ),
    _FileSystem(
        name="erofs",
        package="erofs-utils",
        words=("mkfs.erofs", "disk", "folder"),
    ),
)


def build_disks(ctx: Context) -> tuple[Disk, ...]:
    """The disks of every VM, made when they are not in the cache.

    Raises:
        SetupError: a program that makes one is not installed.
        CommandError: a program failed.
    """
    return tuple(_disk(kind, ctx) for kind in _FILE_SYSTEMS)


def _disk(kind: _FileSystem, ctx: Context) -> Disk:
    def make(scratch: Path) -> None:
        with ctx.progress.step(f"disk with {kind.name}"):
            _make(kind, scratch)

    key = digest(_LAYOUT, repr(kind), f"{PATTERN:x} {PART} {PARTS}")
    # Most of a disk is a hole, and reading that takes long.
    return Disk(kind.name, ctx.cache.get("disk", key, make, verify=Verify.STAT) / "disk.img")


def _make(kind: _FileSystem, scratch: Path) -> None:
    disk, folder = scratch / "disk.img", scratch / "folder"
    folder.mkdir()
    (folder / "pattern").write_bytes(pattern())
    if kind.mebibytes:
        disk.touch()
        os.truncate(disk, kind.mebibytes << 20)
    program, *words = kind.words
    places: dict[str, str | Path] = {"disk": disk, "folder": folder}
    run([find_tool(program, package=kind.package), *(places.get(word, word) for word in words)])


def disk_programs() -> dict[str, str]:
    """The programs that make disks, and Debian's packages that bring them."""
    return {kind.words[0]: kind.package for kind in _FILE_SYSTEMS}


def pattern() -> bytes:
    """The content of the file `pattern`."""
    return b"".join(struct.pack("<Q", PATTERN + part) * (PART // 8) for part in range(PARTS))
