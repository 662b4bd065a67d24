# SPDX-License-Identifier: GPL-2.0
"""What the reasons of failures with one cause have in common. Pure."""

from __future__ import annotations

import re

# What differs between two failures with one cause, and the word that takes its place. In order.
# A path of the kernel's own file systems is the same everywhere.
_VARYING = (
    (re.compile(r"(?<![\w.])/(?!dev/|proc/|sys/)[\w.+~-]+(?:/[\w.+~-]+)+(?::\d+)?"), "PATH"),
    (re.compile(r"-testbed-[0-9a-f]{16}\b"), ""),
    (re.compile(r"\bvm-\w+-\d+"), "VM"),
    (re.compile(r"\bpid[= ]\d+"), "pid N"),
    (re.compile(r"\b0x[0-9a-f]+|\b[0-9a-f]{8,}\b", re.IGNORECASE), "X"),
    (re.compile(r"(?<![\w.])\d+(?:\.\d+)*(?=\b|(?:[kMG]i?B|[mun]?s)\b)"), "N"),
    (re.compile(r"\s+"), " "),
)

# Between the complaints of one reason: the first is the most telling one (testbed/mmap/oracle.py).
_BETWEEN = "; "


def normalised(reason: str) -> str:
    """Return a reason without addresses, process ids, numbers and paths of files."""
    for pattern, word in _VARYING:
        reason = pattern.sub(word, reason)
    return reason.strip()


def complaints_of(reason: str) -> list[str]:
    """Return the complaints of a reason, normalised: at least one, which may be empty."""
    return normalised(reason).split(_BETWEEN)


def cause_of(reason: str) -> str:
    """Return the first complaint of a reason, normalised. Equal: the failures have one cause."""
    return complaints_of(reason)[0]
