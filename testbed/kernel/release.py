# SPDX-License-Identifier: GPL-2.0
"""A kernel's release, which contains its key: 7.3.4-testbed-0123456789abcdef.

make gives all kernels the same release, with zeros in place of the key. The key is written over
the zeros in the finished files. The release is compiled into five objects of the base kernel and
linked into every module. With a different release per build, a change of one C file would rebuild
all of them. In a compressed image, the release is replaced on the way into gzip, which make calls
as KGZIP.
"""

from __future__ import annotations

import mmap
import shutil
from pathlib import Path

from testbed.errors import BuildError


def local_version(key: str) -> str:
    """Return the suffix of the version in the release of the kernel with that key."""
    return f"-testbed-{key}"


# The LOCALVERSION of make.
UNNAMED = local_version("0" * 16)


def name_release(release: str, key: str) -> str:
    """Return a kernel's final release, given the one from make.

    Raises:
        BuildError: the tree ignores LOCALVERSION.
    """
    if UNNAMED not in release:
        raise BuildError(
            f"the kernel's release {release!r} lacks {UNNAMED}",
            hint="keep LOCALVERSION in scripts/setlocalversion",
        )
    return release.replace(UNNAMED, local_version(key))


def naming_gzip(key: str) -> str:
    """Return a shell script that replaces the release in its input and then runs gzip."""
    return f"LC_ALL=C sed 's/{UNNAMED}/{local_version(key)}/g' | gzip \"$@\"\n"


def name_file(path: Path, key: str) -> None:
    """Write the kernel's release into a finished file, in place.

    Raises:
        BuildError: the file lacks the release of make.
    """
    unnamed, named = UNNAMED.encode(), local_version(key).encode()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(unnamed)
        if at < 0:
            raise BuildError(f"{path.name} lacks the release {UNNAMED}")
        while at >= 0:
            content[at : at + len(named)] = named
            at = content.find(unnamed, at)


def copy_named(origin: Path, folder: Path, key: str) -> None:
    """Copy a finished file, and write the kernel's release into the copy."""
    copy = folder / origin.name
    shutil.copyfile(origin, copy)
    name_file(copy, key)


def nameless(content: bytes, key: str) -> bytes:
    """Restore the content that make wrote, with zeros in place of the key."""
    return content.replace(local_version(key).encode(), UNNAMED.encode())
