# SPDX-License-Identifier: GPL-2.0
"""The Debian mirror that the host itself is configured with."""

from __future__ import annotations

from testbed.errors import CommandError, SetupError
from testbed.process import check_output

# One line per index: empty fields where the host has not fetched the index yet.
_FORMAT = "$(REPO_URI)\t$(ORIGIN)\t$(LABEL)"


def find_mirror() -> str:
    """The URL of the host's mirror of Debian's main archive.

    Raises:
        SetupError: the host has none, as on Ubuntu; names the setting to give.
    """
    try:
        text = check_output(["apt-get", "indextargets", "--format", _FORMAT])
    except CommandError as exc:
        raise SetupError("apt cannot tell its mirror", hint=_CURE, evidence=exc.evidence) from exc
    mirror = choose_mirror(text)
    if mirror is None:
        raise SetupError("this host's apt has no mirror of Debian's archive", hint=_CURE)
    return mirror


def choose_mirror(indextargets: str) -> str | None:
    """The first mirror of the main archive (not: security) among `REPO_URI\\tORIGIN\\tLABEL`."""
    for line in indextargets.splitlines():
        uri, origin, label = line.split("\t")
        if uri.startswith("cdrom:"):
            continue
        # Before the host's first update only the URL is known; mirrors keep the path /debian.
        unknown = not origin and uri.rstrip("/").endswith("/debian")
        if unknown or (origin, label) == ("Debian", "Debian"):
            return uri
    return None


_CURE = "set `mirror` to the URL of a Debian mirror"
