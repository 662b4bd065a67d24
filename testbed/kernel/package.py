# SPDX-License-Identifier: GPL-2.0
"""A Debian binary package in an exact version, as apt names it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_URI = re.compile(r"^'[^']*' (?P<file>\S+) (?P<size>\d+) (?P<hash>\S*)$", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """One binary package in an exact version."""

    name: str
    version: str
    file: str  # the .deb's name
    size: int  # bytes
    hash: str  # as the signed index has it, such as SHA256:0123...

    @property
    def pinned(self) -> str:
        """As apt-get's command line takes it."""
        return f"{self.name}={self.version}"


def parse_uris(text: str) -> tuple[Package, ...]:
    """The packages that `apt-get --print-uris` prints, which must be .deb files."""
    return tuple(_package(match) for match in _URI.finditer(text))


def _package(match: re.Match[str]) -> Package:
    # The name has the version with its colon escaped: dropbear_1%3a2025.89-1_arm64.deb
    name, version, _ = match["file"].split("_")
    return Package(
        name=name,
        version=version.replace("%3a", ":"),
        file=match["file"],
        size=int(match["size"]),
        hash=match["hash"],
    )
