# SPDX-License-Identifier: GPL-2.0
"""The signature of a failure: what failures with one cause have in common. Pure."""

from __future__ import annotations

import re

from testbed.history.records import Signature

# What differs between two failures with one cause, and the word that takes its place. In order.
# A path of the kernel's own file systems is the same everywhere.
_VARYING = (
    (re.compile(r"(?<![\w.])/(?!dev/|proc/|sys/)[\w.+~-]+(?:/[\w.+~-]+)+(?::\d+)?"), "PATH"),
    (re.compile(r"-testbed-[0-9a-f]{16}\b"), ""),
    (re.compile(r"\bvm-\w+-\d+"), "VM"),
    (re.compile(r"\bpid[= ]\d+"), "pid N"),
    (re.compile(r"\b0x[0-9a-f]+|\b[0-9a-f]{8,}\b", re.IGNORECASE), "X"),
    (re.compile(r"(?<![\w.])\d+(?:\.\d+)*\b"), "N"),
    (re.compile(r"\s+"), " "),
)

_LONGEST = 300  # characters of a title


def signature_of(error: str, reason: str) -> Signature | None:
    """Return the signature of a case or a try; None if it has neither error nor reason.

    Args:
        error: the class of its exception.
        reason: why it ended so, one line.
    """
    title = normalised(reason) if reason else ""
    return Signature(error, title) if error or title else None


def normalised(reason: str) -> str:
    """Return a reason without addresses, process ids, numbers and paths of files."""
    for pattern, word in _VARYING:
        reason = pattern.sub(word, reason)
    return reason.strip()[:_LONGEST]
