# SPDX-License-Identifier: GPL-2.0
"""A disk in the memory of a guest, for a driver that is a file system."""

from __future__ import annotations

import gzip
from functools import cache, partial
from pathlib import Path

from testbed.lab.guest import Guest

DEVICE = "/dev/loop0"

_IMAGE = "/tmp/disk.img"

_ATTACH = f"busybox gunzip {_IMAGE}.gz; losetup {DEVICE} {_IMAGE}"
_DETACH = f"losetup -d {DEVICE}; rm {_IMAGE}"


def attach(guest: Guest, image: Path) -> None:
    """Attach a copy of an image to the first loop device, until the end of the trial.

    Raises:
        GuestCommandError: there is no loop device, or no memory for the image.
    """
    guest.session.put(_compressed(image), f"{_IMAGE}.gz")
    guest.session.check(["sh", "-ec", _ATTACH])
    guest.at_end(partial(guest.session.check, ["sh", "-ec", _DETACH]))


@cache
def _compressed(image: Path) -> bytes:
    """Return an image without its zeros, which are most of it."""
    return gzip.compress(image.read_bytes(), mtime=0)
