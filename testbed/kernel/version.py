# SPDX-License-Identifier: GPL-2.0
"""Versions of Linux, as in the tree's Makefile and as in Debian."""

from __future__ import annotations

import functools
import re

from testbed.errors import SetupError

SUPPORTED = (7, 2)

_MAKEFILE = re.compile(
    r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)", re.MULTILINE
)


def require_supported(version: str, what: str) -> None:
    """Refuse text that is older than the oldest supported release.

    Raises:
        SetupError: it is older. It names the release that introduced the layer under test.
    """
    if release(version) >= SUPPORTED:
        return
    oldest = ".".join(map(str, SUPPORTED))
    # bb666b7c2707 ("mm: add mmap_prepare() compatibility layer for nested file systems", 6.16)
    # added compat_vma_mmap_prepare(), which was reworked several times until 7.2.
    raise SetupError(
        f"{what} is Linux {version}: {oldest} and later are supported. mmap_prepare and its first "
        f"compatibility layer came with 6.16. The tests are for the layer of {oldest} and later, "
        f"with compat_set_desc_from_vma() and __compat_vma_mmap()",
        hint=f"choose {oldest} or later, such as debian:{oldest}",
    )


def release(version: str) -> tuple[int, int]:
    """Return major and minor number. A missing minor number counts as newer than any."""
    numbers = [int(word) for word in re.findall(r"\d+", version)[:2]]
    if len(numbers) == 1:
        numbers.append(999)
    return numbers[0], numbers[1]


def numbers_of(version: str) -> tuple[int, ...]:
    """Convert 7.3.4 to (7, 3, 4), which sorts by version. 7.2 sorts before its stable releases."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def version_of_makefile(text: str) -> str | None:
    """Return the output of `make kernelversion`, or None if this is not a kernel's top Makefile."""
    found = {match[1]: match[2] for match in _MAKEFILE.finditer(text)}
    if not {"VERSION", "PATCHLEVEL"} <= found.keys():
        return None
    numbers = [found["VERSION"], found["PATCHLEVEL"], found.get("SUBLEVEL") or "0"]
    return ".".join(numbers) + found.get("EXTRAVERSION", "")


def upstream_version(debian: str) -> str:
    """Return the kernel's version for a Debian version: 7.3.0-rc2 for `7.3~rc2-1~exp1`."""
    upstream = debian.rpartition(":")[2].rpartition("-")[0] or debian
    numbers, _, candidate = upstream.partition("~")
    if numbers.count(".") == 1:
        numbers += ".0"
    return f"{numbers}-{candidate}" if candidate else numbers


@functools.total_ordering
class DebianVersion:
    """A Debian version, ordered by deb-version(7)."""

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
    """Split a text into runs of non-digits and the numbers that follow them."""
    stretches = re.findall(r"(\D*)(\d*)", text)
    return tuple(((*map(_rank, word), 0), int(number or 0)) for word, number in stretches)


def _rank(character: str) -> int:
    """Return a sort key. `~` sorts before the end of the text (0), letters before the rest."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
