# SPDX-License-Identifier: GPL-2.0
"""The kernel's taint mask as letters. Pure."""

from __future__ import annotations

# Bit by bit, as taint_flags of kernel/panic.c names them in 7.3.
_LETTERS = "PFSRMBUDAWCIOELKXTNJ"

# What this project's own modules do: they are out of tree, and nobody signed them.
HARMLESS = frozenset("OE")


def taint_letters(mask: int) -> str:
    """The letters of a mask of /proc/sys/kernel/tainted; "?" for a bit without a name."""
    bits = [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
    return "".join(_LETTERS[bit] if bit < len(_LETTERS) else "?" for bit in bits)
