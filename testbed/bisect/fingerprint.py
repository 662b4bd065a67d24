# SPDX-License-Identifier: GPL-2.0
"""Fingerprints of kernels: equal for kernels that differ only in their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from testbed.kernel.modules import GuestSide
from testbed.kernel.release import nameless
from testbed.kernel.request import Kernel


def fingerprint(kernel: Kernel, guest_side: GuestSide) -> str:
    """Return a digest of a kernel's code, data and configuration, its modules and guest programs.

    It ignores the kernel's key, which is part of the release, and so of the banner and of each
    module's version magic.
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
