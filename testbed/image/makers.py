# SPDX-License-Identifier: GPL-2.0
"""Empty file systems of which no Debian package has a mkfs. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

# AFFS (fs/affs/affs.h, amigaffs.h): blocks of 512 bytes, all numbers in big endian.
_AFFS_BLOCK = 512
_AFFS_WORDS = _AFFS_BLOCK // 4
_AFFS_RESERVED = 2  # boot blocks
_AFFS_FFS = b"DOS\x01"
_AFFS_SHORT, _AFFS_ROOT = 2, 1  # primary and secondary type of the root block
_AFFS_CHECKSUM = 5  # word of the root block
_AFFS_BITMAP_VALID = _AFFS_WORDS - 50
_AFFS_BITMAPS = _AFFS_WORDS - 49

# OMFS (fs/omfs/omfs_fs.h): all numbers in big endian.
_OMFS_BLOCK = 2048
_OMFS_MAGIC = 0xC2993D87
_OMFS_DIR_START = 0x1B8
_OMFS_ROOT, _OMFS_BITMAP, _OMFS_DIR = 1, 2, 3  # blocks; block 0 has the superblock
_OMFS_TYPE_AT = 24 + 3 * 8 + 35

# HFS+ (include/linux/hfs_common.h, fs/hfsplus/hfsplus_raw.h): all numbers in big endian. A node of
# a tree has the size of a block.
_HFS_BLOCK = 4096
_HFS_HEADER_AT = 1024  # and as far from the end, for the second header
_HFS_MAGIC, _HFS_VERSION, _HFS_UNMOUNTED = 0x482B, 4, 1 << 8
_HFS_EXTENTS_KEY, _HFS_CATALOG_KEY = 10, 516  # bytes
_HFS_BIG_KEYS, _HFS_VARIABLE_KEYS, _HFS_IGNORES_CASE = 2, 4, 0xCF
_HFS_HEADER_NODE, _HFS_LEAF_NODE = 1, 0xFF
_HFS_ROOT_PARENT, _HFS_ROOT, _HFS_FIRST_FREE = 1, 2, 16  # numbers of files and folders
_HFS_FOLDER, _HFS_FOLDER_THREAD, _HFS_FOLDER_MODE = 1, 3, 0o40755
_HFS_BITMAP, _HFS_EXTENTS, _HFS_CATALOG, _HFS_NODES = 1, 2, 3, 16  # blocks; nodes of the catalog


def affs(size: int) -> bytes:
    """Return an Amiga fast file system of at most 2 MB."""
    count = size // _AFFS_BLOCK
    root = (_AFFS_RESERVED + count - 1) // 2
    image = bytearray(size)
    image[:4] = _AFFS_FFS
    words = [0] * _AFFS_WORDS
    words[0], words[3], words[-1] = _AFFS_SHORT, _AFFS_WORDS - 56, _AFFS_ROOT
    words[_AFFS_BITMAP_VALID], words[_AFFS_BITMAPS] = 0xFFFFFFFF, root + 1
    _put_words(image, root, _summed(words, _AFFS_CHECKSUM))
    free = [0] * _AFFS_WORDS
    for block in range(_AFFS_RESERVED, count):
        if block not in (root, root + 1):
            bit = block - _AFFS_RESERVED
            free[1 + bit // 32] |= 1 << bit % 32
    _put_words(image, root + 1, _summed(free, 0))
    return bytes(image)


def _summed(words: list[int], at: int) -> list[int]:
    """Return a block whose words have the sum 0, by the word `at`."""
    return [*words[:at], -sum(words) & 0xFFFFFFFF, *words[at + 1 :]]


def _put_words(image: bytearray, block: int, words: list[int]) -> None:
    struct.pack_into(f">{_AFFS_WORDS}I", image, block * _AFFS_BLOCK, *words)


def omfs(size: int) -> bytes:
    """Return an optimized MPEG file system."""
    count = size // _OMFS_BLOCK
    image = bytearray(size)
    struct.pack_into(
        ">QQ4I", image, 256, _OMFS_ROOT, count, _OMFS_MAGIC, _OMFS_BLOCK, 1, _OMFS_BLOCK
    )
    root = _OMFS_ROOT * _OMFS_BLOCK
    struct.pack_into(">Q", image, root, _OMFS_ROOT)
    numbers = (0, count, _OMFS_DIR, _OMFS_BITMAP, _OMFS_BLOCK, 1, 1)
    struct.pack_into(">4Q2IQ", image, root + 24, *numbers)
    image[_OMFS_BITMAP * _OMFS_BLOCK] = 0b1111  # the first four blocks are in use
    folder = _OMFS_DIR * _OMFS_BLOCK
    struct.pack_into(">Q", image, folder, _OMFS_DIR)
    image[folder + _OMFS_TYPE_AT] = ord("D")
    image[folder + _OMFS_DIR_START : folder + _OMFS_BLOCK] = b"\xff" * (
        _OMFS_BLOCK - _OMFS_DIR_START
    )
    return bytes(image)


def hfsplus(size: int) -> bytes:
    """Return an extended Apple file system of at most 128 MB, without a journal."""
    count = size // _HFS_BLOCK
    used = [*range(_HFS_CATALOG + _HFS_NODES), count - 1]
    image = bytearray(size)
    for block in used:
        image[_HFS_BITMAP * _HFS_BLOCK + block // 8] |= 0x80 >> block % 8
    extents = _hfs_tree(_HFS_EXTENTS_KEY, _HFS_BIG_KEYS, 1, [])
    catalog = _hfs_tree(
        _HFS_CATALOG_KEY, _HFS_BIG_KEYS | _HFS_VARIABLE_KEYS, _HFS_NODES, _hfs_root_folder("disk")
    )
    for block, content in ((_HFS_EXTENTS, extents), (_HFS_CATALOG, catalog)):
        image[block * _HFS_BLOCK : block * _HFS_BLOCK + len(content)] = content
    header = _hfs_volume_header(count, count - len(used))
    for at in (_HFS_HEADER_AT, size - _HFS_HEADER_AT):
        image[at : at + len(header)] = header
    return bytes(image)


def _hfs_volume_header(count: int, free: int) -> bytes:
    head = struct.pack(">2H3I4I", _HFS_MAGIC, _HFS_VERSION, _HFS_UNMOUNTED, *[0] * 6)
    head += struct.pack(">2I3I3I", 0, 0, _HFS_BLOCK, count, free, 0, _HFS_BLOCK, _HFS_BLOCK)
    head += struct.pack(">2IQ32x", _HFS_FIRST_FREE, 0, 1)
    files = ((_HFS_BITMAP, 1), (_HFS_EXTENTS, 1), (_HFS_CATALOG, _HFS_NODES), (0, 0), (0, 0))
    for start, blocks in files:
        length = blocks * _HFS_BLOCK
        head += struct.pack(">Q4I56x", length, _HFS_BLOCK, blocks, start, blocks)
    return head


def _hfs_tree(longest_key: int, attributes: int, nodes: int, records: list[bytes]) -> bytes:
    """Return a tree with at most one leaf, which has these records."""
    leaves = 1 if records else 0
    header = struct.pack(
        ">H4I2H2IHI2BI64x", leaves, leaves, len(records), leaves, leaves, _HFS_BLOCK, longest_key,
        nodes, nodes - 1 - leaves, 0, _HFS_BLOCK, 0, _HFS_IGNORES_CASE, attributes,
    )  # fmt: skip
    spare, room = bytes(128), _HFS_BLOCK - 14 - len(header) - 128 - 8
    in_use = bytes([0b11000000 if leaves else 0b10000000]).ljust(room, b"\0")
    tree = _hfs_node(_HFS_HEADER_NODE, 0, [header, spare, in_use])
    if records:
        tree += _hfs_node(_HFS_LEAF_NODE, 1, records)
    return tree


def _hfs_node(kind: int, height: int, records: list[bytes]) -> bytes:
    node = struct.pack(">2I2BHH", 0, 0, kind, height, len(records), 0)
    starts = []
    for record in records:
        starts.append(len(node))
        node += record
    starts.append(len(node))
    ends = struct.pack(f">{len(starts)}H", *reversed(starts))
    return node.ljust(_HFS_BLOCK - len(ends), b"\0") + ends


def _hfs_root_folder(name: str) -> list[bytes]:
    text = struct.pack(">H", len(name)) + name.encode("utf-16-be")
    folder = struct.pack(">2H2I20x", _HFS_FOLDER, 0, 0, _HFS_ROOT)
    folder += struct.pack(">2I2BHI40x", 0, 0, 0, 0, _HFS_FOLDER_MODE, 0)
    thread = struct.pack(">2HI", _HFS_FOLDER_THREAD, 0, _HFS_ROOT_PARENT) + text
    return [_hfs_key(_HFS_ROOT_PARENT, text) + folder, _hfs_key(_HFS_ROOT, bytes(2)) + thread]


def _hfs_key(parent: int, name: bytes) -> bytes:
    return struct.pack(">HI", 4 + len(name), parent) + name


# Each returns a file system of a number of bytes.
MAKERS: Mapping[str, Callable[[int], bytes]] = {"affs": affs, "hfsplus": hfsplus, "omfs": omfs}
