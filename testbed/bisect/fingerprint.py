# SPDX-License-Identifier: GPL-2.0
"""Whether two kernels are equal but for their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from testbed.kernel.modules import GuestSide
from testbed.kernel.release import nameless
from testbed.kernel.request import Kernel


def fingerprint(kernel: Kernel, guest_side: GuestSide) -> str:
    """Equal for kernels whose code and data are equal, with all that is loaded into them.

    A kernel's key is in its release, and so in its banner and in each module's version magic.
    """
    total = hashlib.sha256()
    for file in _files(kernel, guest_side):
        total.update(file.name.encode() + b"\0")
        total.update(hashlib.sha256(nameless(file.read_bytes(), kernel.key)).digest())
    return total.hexdigest()


def _files(kernel: Kernel, guest_side: GuestSide) -> Iterable[Path]:
    yield kernel.vmlinux
    yield kernel.config
    yield from sorted(kernel.modules.rglob("*.ko"))
    yield from guest_side.modules
    yield from guest_side.programs
