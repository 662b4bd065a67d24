# SPDX-License-Identifier: GPL-2.0
"""The signature of a failure: what it has in common with itself on other nights. Pure."""

from __future__ import annotations

from testbed.history.records import Signature
from testbed.results.reason import normalised

_LONGEST = 300  # characters of a title


def signature_of(error: str, reason: str) -> Signature | None:
    """Return the signature of a case or a try; None if it has neither error nor reason.

    Args:
        error: the class of its exception.
        reason: why it ended so, one line.
    """
    title = normalised(reason)[:_LONGEST]
    return Signature(error, title) if error or title else None
