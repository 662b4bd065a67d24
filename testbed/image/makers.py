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


# Each returns a file system of a number of bytes.
MAKERS: Mapping[str, Callable[[int], bytes]] = {"affs": affs, "omfs": omfs}
