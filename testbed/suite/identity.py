# SPDX-License-Identifier: GPL-2.0
"""The identity of the suite: equal as long as nothing has changed that a verdict depends on."""

from __future__ import annotations

import hashlib

from testbed.cache import digest
from testbed.settings import CHECKOUT

# Besides the kernel, a verdict depends on these.
SUITE = (
    "modules",
    "testbed/guest",
    "testbed/intree",
    "testbed/lab",
    "testbed/mmap",
    "testbed/suite/plugin.py",
    "testbed/suite/recorder.py",
    "testbed/suite/verdict.py",
    "tests/conftest.py",
    "tests/probes",
    "tests/vm/contract",
)


def suite_identity() -> str:
    """A digest of the files of the suite, and of their names."""
    tops = [CHECKOUT / name for name in SUITE]
    files = [file for top in tops for file in (top, *sorted(top.rglob("*"))) if file.is_file()]
    texts = [file for file in files if "__pycache__" not in file.parts]
    names = [str(file.relative_to(CHECKOUT)) for file in texts]
    return digest(*names, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in texts))
