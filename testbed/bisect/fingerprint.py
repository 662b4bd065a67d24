"""Whether two kernels are equal but for their names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from testbed.kernel.model import Kernel
from testbed.kernel.modules import GuestSide

# The linker's digest over all else, the name included (ELF note NT_GNU_BUILD_ID).
_BUILD_ID = re.compile(rb"(\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0).{20}", re.DOTALL)


def fingerprint(kernel: Kernel, guest_side: GuestSide) -> str:
    """Equal for kernels whose code and data are equal, with all that is loaded into them.

    A kernel's key is in its release, and so in its banner, in each module's version magic, and
    in the build ids.
    """
    total = hashlib.sha256()
    for file in _files(kernel, guest_side):
        total.update(file.name.encode() + b"\0")
        total.update(hashlib.sha256(nameless(file.read_bytes(), kernel.key)).digest())
    return total.hexdigest()


def nameless(content: bytes, key: str) -> bytes:
    """A binary without the kernel's key and without build ids, of the same length."""
    content = content.replace(key.encode(), bytes(len(key)))
    return _BUILD_ID.sub(lambda match: match[1] + bytes(20), content)


def _files(kernel: Kernel, guest_side: GuestSide) -> Iterable[Path]:
    yield kernel.vmlinux
    yield kernel.config
    yield from sorted(kernel.modules.rglob("*.ko"))
    yield from guest_side.modules
    yield from guest_side.programs
