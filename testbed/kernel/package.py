# SPDX-License-Identifier: GPL-2.0
"""Debian binary packages in exact versions, as apt names them."""

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
    hash: str  # from the signed index, such as SHA256:0123...

    @property
    def pinned(self) -> str:
        """The package as an argument of apt-get."""
        return f"{self.name}={self.version}"


def parse_uris(text: str) -> tuple[Package, ...]:
    """Parse the output of `apt-get --print-uris`. Every URI must be a .deb file."""
    return tuple(_package(match) for match in _URI.finditer(text))


def _package(match: re.Match[str]) -> Package:
    # The file name escapes the colon of the version: dropbear_1%3a2025.89-1_arm64.deb
    name, version, _ = match["file"].split("_")
    return Package(
        name=name,
        version=version.replace("%3a", ":"),
        file=match["file"],
        size=int(match["size"]),
        hash=match["hash"],
    )
