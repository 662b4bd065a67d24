# SPDX-License-Identifier: GPL-2.0
"""Disks with file systems, which the host's programs make."""

from __future__ import annotations

import struct

from testbed.context import Context
from testbed.image.disks import PART, PARTS, PATTERN, build_disks, disk_programs, pattern
from testbed.settings import CHECKOUT

# The offset of each file system's magic number, in bytes, and the number.
MAGICS = {
    "ext2": (0x438, b"\x53\xef"),
    "ext4": (0x438, b"\x53\xef"),
    "xfs": (0, b"XFSB"),
    "btrfs": (0x10040, b"_BHRfS_M"),
    "f2fs": (0x400, b"\x10\x20\xf5\xf2"),
    "squashfs": (0, b"hsqs"),
    "erofs": (0x400, b"\xe2\xe1\xf5\xe0"),
}


def test_each_disk_has_its_file_system_and_is_made_once(ctx: Context) -> None:
    disks = build_disks(ctx)
    assert [disk.name for disk in disks] == list(MAGICS)
    for disk in disks:
        offset, magic = MAGICS[disk.name]
        with disk.path.open("rb") as file:
            file.seek(offset)
            assert file.read(len(magic)) == magic, disk.name
    before = [disk.path.stat().st_ctime_ns for disk in disks]
    assert build_disks(ctx) == disks
    assert [disk.path.stat().st_ctime_ns for disk in disks] == before


def test_each_part_of_the_pattern_repeats_one_word() -> None:
    content = pattern()
    words = struct.unpack(f"<{len(content) // 8}Q", content)
    assert [set(words[n * PART // 8 : (n + 1) * PART // 8]) for n in range(PARTS)] == [
        {PATTERN + n} for n in range(PARTS)
    ]


def test_setup_installs_the_programs_that_make_the_disks() -> None:
    packages = (CHECKOUT / "scripts" / "packages" / "common").read_text().splitlines()
    assert set(disk_programs().values()) <= set(packages)
