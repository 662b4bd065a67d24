# SPDX-License-Identifier: GPL-2.0
"""The Debian mirror that the host's apt is configured with."""

from __future__ import annotations

from testbed.errors import CommandError, SetupError
from testbed.process import check_output

# One line per index. ORIGIN and LABEL are empty if the host has not fetched the index yet.
_FORMAT = "$(REPO_URI)\t$(ORIGIN)\t$(LABEL)"


def find_mirror() -> str:
    """Return the URL of the host's mirror of Debian's main archive.

    Raises:
        SetupError: the host has none, as on Ubuntu. The hint names the setting.
    """
    try:
        text = check_output(["apt-get", "indextargets", "--format", _FORMAT])
    except CommandError as exc:
        message = "cannot read the mirror from the host's apt"
        raise SetupError(message, hint=_HINT, evidence=exc.evidence) from exc
    mirror = choose_mirror(text)
    if mirror is None:
        raise SetupError("the host's apt has no mirror of Debian's archive", hint=_HINT)
    return mirror


def choose_mirror(indextargets: str) -> str | None:
    """Return the first mirror of the main archive, not of the security archive.

    Each line of `indextargets` is `REPO_URI\\tORIGIN\\tLABEL`.
    """
    for line in indextargets.splitlines():
        uri, origin, label = line.split("\t")
        if uri.startswith("cdrom:"):
            continue
        # Before the host's first update only the URL is known. Mirrors keep the path /debian.
        unknown = not origin and uri.rstrip("/").endswith("/debian")
        if unknown or (origin, label) == ("Debian", "Debian"):
            return uri
    return None


_HINT = "set `mirror` to the URL of a Debian mirror"
