# SPDX-License-Identifier: GPL-2.0
"""The identity of the suite: a digest that changes with any file that verdicts depend on."""

from __future__ import annotations

import hashlib

from testbed.cache import digest
from testbed.settings import CHECKOUT

# The files and folders that a verdict depends on, besides the kernel.
SUITE = (
    "modules",
    "testbed/guest",
    "testbed/intree",
    "testbed/lab",
    "testbed/mmap",
    "testbed/suite/batch.py",
    "testbed/suite/batch_runner.py",
    "testbed/suite/confirm.py",
    "testbed/suite/intreecases.py",
    "testbed/suite/item.py",
    "testbed/suite/plugin.py",
    "testbed/suite/recorder.py",
    "testbed/suite/verdict.py",
    "tests/conftest.py",
    "tests/probes",
    "tests/vm/contract",
)


def suite_identity() -> str:
    """Return a digest of the names and contents of the suite's files."""
    tops = [CHECKOUT / name for name in SUITE]
    files = [file for top in tops for file in (top, *sorted(top.rglob("*"))) if file.is_file()]
    texts = [file for file in files if "__pycache__" not in file.parts]
    names = [str(file.relative_to(CHECKOUT)) for file in texts]
    return digest(*names, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in texts))
