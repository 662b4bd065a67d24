# SPDX-License-Identifier: GPL-2.0
"""The Debian mirror that the host's apt is configured with."""

from __future__ import annotations

import re

from testbed.errors import CommandError, SetupError
from testbed.process import check_output

# One line per index. ORIGIN and LABEL are empty if the host has not fetched the index yet.
_FORMAT = "$(REPO_URI)\t$(ORIGIN)\t$(LABEL)"

_PLANNED = re.compile(r"^'(?P<mirror>(?!cdrom:)[^']+/debian)/+dists/", re.MULTILINE)


def find_mirror() -> str:
    """Return the URL of the host's mirror of Debian's main archive.

    Raises:
        SetupError: the host has none, as on Ubuntu. The hint names the setting.
    """
    mirror = choose_mirror(_ask("indextargets", "--format", _FORMAT))
    # apt 3.0 of Debian 13 lists no index that the host has not fetched.
    mirror = mirror or planned_mirror(_ask("--print-uris", "update"))
    if mirror is None:
        raise SetupError("the host's apt has no mirror of Debian's archive", hint=_HINT)
    return mirror


def _ask(*words: str) -> str:
    try:
        return check_output(["apt-get", *words])
    except CommandError as exc:
        message = "cannot read the mirror from the host's apt"
        raise SetupError(message, hint=_HINT, evidence=exc.evidence) from exc


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


def planned_mirror(uris: str) -> str | None:
    """Return the first mirror of the main archive, by its path, of what an update would fetch.

    Each line of `uris` is `'URI' FILE SIZE`.
    """
    match = _PLANNED.search(uris)
    return match["mirror"] if match else None


_HINT = "set `mirror` to the URL of a Debian mirror"
