# SPDX-License-Identifier: GPL-2.0
"""The kernel's taint mask as letters. Pure functions."""

from __future__ import annotations

# In the order of the bits: kernel/panic.c, taint_flags, in 7.3.
_LETTERS = "PFSRMBUDAWCIOELKXTNJ"

# The project's own modules set the first two: they are out of tree and unsigned. The third one
# says that a user asked for what may be unsafe, such as VFIO without an IOMMU.
HARMLESS = frozenset("OEU")


def taint_letters(mask: int) -> str:
    """Return the letters of a mask of /proc/sys/kernel/tainted; "?" for an unknown bit."""
    bits = [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
    return "".join(_LETTERS[bit] if bit < len(_LETTERS) else "?" for bit in bits)
