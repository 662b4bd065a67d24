# SPDX-License-Identifier: GPL-2.0
"""Versions of Linux: as the tree's Makefile has them, and as Debian writes them."""

from __future__ import annotations

import functools
import re

from testbed.errors import SetupError

SUPPORTED = (7, 2)

_MAKEFILE = re.compile(
    r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)", re.MULTILINE
)


def require_supported(version: str, what: str) -> None:
    """Refuse text that is older than what the testbed knows.

    Raises:
        SetupError: it is; says which release brought the layer under test.
    """
    if release(version) >= SUPPORTED:
        return
    oldest = ".".join(map(str, SUPPORTED))
    # bb666b7c2707 (6.16) added compat_vma_mmap_prepare(), reworked several times until 7.2.
    raise SetupError(
        f"{what} is Linux {version}: {oldest} and later are supported. mmap_prepare and its first "
        f"compatibility layer came with 6.16; the layer as it is tested here, with "
        f"compat_set_desc_from_vma() and __compat_vma_mmap(), is that of {oldest} and later",
        hint=f"choose a kernel from {oldest} on, such as debian:{oldest}",
    )


def release(version: str) -> tuple[int, int]:
    """Major and minor number; a missing minor number counts as any."""
    numbers = [int(word) for word in re.findall(r"\d+", version)[:2]]
    if len(numbers) == 1:
        numbers.append(999)
    return numbers[0], numbers[1]


def numbers_of(version: str) -> tuple[int, ...]:
    """7.3.4 as (7, 3, 4), which sorts as versions do; a series such as 7.2 before its releases."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def version_of_makefile(text: str) -> str | None:
    """What `make kernelversion` prints; None when this is not the top of a kernel tree."""
    found = {match[1]: match[2] for match in _MAKEFILE.finditer(text)}
    if not {"VERSION", "PATCHLEVEL"} <= found.keys():
        return None
    numbers = [found["VERSION"], found["PATCHLEVEL"], found.get("SUBLEVEL") or "0"]
    return ".".join(numbers) + found.get("EXTRAVERSION", "")


def upstream_version(debian: str) -> str:
    """The kernel's own version in a Debian version: `7.3~rc2-1~exp1` is 7.3.0-rc2."""
    upstream = debian.rpartition(":")[2].rpartition("-")[0] or debian
    numbers, _, candidate = upstream.partition("~")
    if numbers.count(".") == 1:
        numbers += ".0"
    return f"{numbers}-{candidate}" if candidate else numbers


@functools.total_ordering
class DebianVersion:
    """A Debian version in the order of deb-version(7)."""

    def __init__(self, text: str) -> None:
        epoch, colon, rest = text.partition(":")
        upstream, dash, revision = (rest if colon else text).rpartition("-")
        self._parts = (
            int(epoch) if colon else 0,
            _parts(upstream if dash else revision),
            _parts(revision if dash else "0"),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DebianVersion) and self._parts == other._parts

    def __lt__(self, other: DebianVersion) -> bool:
        return self._parts < other._parts

    def __hash__(self) -> int:
        return hash(self._parts)


def _parts(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Stretches of non-digits and the numbers after them."""
    stretches = re.findall(r"(\D*)(\d*)", text)
    return tuple(((*map(_rank, word), 0), int(number or 0)) for word, number in stretches)


def _rank(character: str) -> int:
    """`~` sorts before the end of the text (0), letters before everything else."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
