# SPDX-License-Identifier: GPL-2.0
"""A kernel's release, which has its key in it: 7.3.4-testbed-0123456789abcdef.

make gives all kernels one release, and what it has made is renamed when it is finished: the key is
written over as many zeros. A release is compiled into five objects of the base kernel, and linked
into every module; were it another each time, a change of one C file would make all of them again.
What is in a compressed image is renamed on its way into gzip, which make calls as KGZIP.
"""

from __future__ import annotations

import mmap
import shutil
from pathlib import Path

from testbed.errors import BuildError


def local_version(key: str) -> str:
    """What stands behind the version in the release of the kernel with that key."""
    return f"-testbed-{key}"


# What make is given.
UNNAMED = local_version("0" * 16)


def name_release(release: str, key: str) -> str:
    """The release that a kernel gets, from the one that make gave it.

    Raises:
        BuildError: the tree does not take LOCALVERSION over.
    """
    if UNNAMED not in release:
        raise BuildError(
            f"the tree gives its kernel the release {release!r}, without {UNNAMED}",
            hint="leave LOCALVERSION in scripts/setlocalversion",
        )
    return release.replace(UNNAMED, local_version(key))


def naming_gzip(key: str) -> str:
    """A script of sh that is gzip, but for the release of what it compresses."""
    return f"LC_ALL=C sed 's/{UNNAMED}/{local_version(key)}/g' | gzip \"$@\"\n"


def name_file(path: Path, key: str) -> None:
    """Give a finished file the release of its kernel, in place.

    Raises:
        BuildError: it has none.
    """
    unnamed, named = UNNAMED.encode(), local_version(key).encode()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(unnamed)
        if at < 0:
            raise BuildError(f"make has left {path.name} without the release {UNNAMED}")
        while at >= 0:
            content[at : at + len(named)] = named
            at = content.find(unnamed, at)


def copy_named(origin: Path, folder: Path, key: str) -> None:
    """Copy a finished file, and give the copy the release of its kernel."""
    copy = folder / origin.name
    shutil.copyfile(origin, copy)
    name_file(copy, key)


def nameless(content: bytes, key: str) -> bytes:
    """What make made of a file that was given the release of its kernel."""
    return content.replace(local_version(key).encode(), UNNAMED.encode())
