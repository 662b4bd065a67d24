# SPDX-License-Identifier: GPL-2.0
"""Disks with file systems, which the host's programs make."""

from __future__ import annotations

import struct

from testbed.context import Context
from testbed.image.disks import (
    PART,
    PARTS,
    PATTERN,
    FileSystem,
    build_disk,
    build_disks,
    disk_programs,
    pattern,
)
from testbed.image.makers import affs, hfsplus, omfs
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


def test_a_file_system_without_a_program_is_made_by_a_function(ctx: Context) -> None:
    made = build_disk(FileSystem(name="amiga", maker="affs", mebibytes=1), ctx)
    assert made.path.read_bytes() == affs(1 << 20)


def test_each_block_of_affs_has_the_sum_that_its_driver_demands() -> None:
    image = affs(1 << 20)
    root = (2 + 2048 - 1) // 2
    blocks = [struct.unpack_from(">128I", image, number * 512) for number in (root, root + 1)]
    assert [sum(block) & 0xFFFFFFFF for block in blocks] == [0, 0]
    assert (image[:4], blocks[0][0], blocks[0][-1]) == (b"DOS\x01", 2, 1)
    assert blocks[0][79] == root + 1
    free = sum(word.bit_count() for word in blocks[1][1:])
    assert free == 2048 - 2 - 2


def test_the_superblock_of_omfs_leads_to_its_root_folder() -> None:
    image = omfs(1 << 20)
    root, count, magic, size, _, _ = struct.unpack_from(">QQ4I", image, 256)
    assert (magic, count, size) == (0xC2993D87, 512, 2048)
    (same, *_), (_, again, folder) = (
        struct.unpack_from(">Q", image, root * size),
        struct.unpack_from(">3Q", image, root * size + 24),
    )
    assert (same, again) == (root, count)
    assert struct.unpack_from(">Q", image, folder * size) == (folder,)
    assert image[folder * size + 0x1B8 :][:8] == b"\xff" * 8


def test_both_headers_of_hfsplus_lead_to_the_catalog_with_the_root_folder() -> None:
    image = hfsplus(1 << 20)
    header = image[1024 : 1024 + 512]
    assert image[-1024:][:512] == header
    signature, version, _, *_ = struct.unpack_from(">2HI", header)
    size, count, free = struct.unpack_from(">3I", header, 40)
    assert (signature, version, size, count) == (0x482B, 4, 4096, 256)
    assert sum(byte.bit_count() for byte in image[4096:8192]) == count - free
    start = struct.unpack_from(">I", header, 112 + 2 * 80 + 16)[0] * size
    root, leaves = struct.unpack_from(">2I", image, start + 16)
    node = start + root * size
    ends = struct.unpack_from(">3H", image, node + size - 6)[::-1]
    keys = [struct.unpack_from(">I", image, node + at + 2)[0] for at in ends[:-1]]
    assert (leaves, keys) == (2, [1, 2])
    assert struct.unpack_from(">H", image, node + ends[0] + 16) == (1,)
