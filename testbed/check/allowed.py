# SPDX-License-Identifier: GPL-2.0
"""Differences that a conversion of a hook brings with it, each with its reason.

A hook with the VMA runs at another time than one with a descriptor. What follows from that alone
is shown, but is no difference. All other changes are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.mmap.path import HookPath
from testbed.report.diff import ABSENT, FactChange

_MERGED = re.compile(r"adjacent-\w+")
_SECOND = re.compile(r" map n .*:\.(?:error|errno)$")
_ERROR = re.compile(r" map .*:\.(?:error|errno)$")

_NONE = ("", "0", ABSENT)


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """A kind of difference that is none: it covers all changes of one trial, or some of them."""

    reason: str
    source: str  # the function of the kernel that causes it
    covers: Callable[[str, str, Sequence[FactChange]], list[FactChange]]


def _of_a_merge(trial: str, path: str, changes: Sequence[FactChange]) -> list[FactChange]:
    """All changes of two adjacent mappings, if what differs first is the call for the second."""
    if not _MERGED.fullmatch(trial):
        return []
    refused = [each for each in changes if _ERROR.search(each.where)]
    second = bool(refused) and all(_SECOND.search(each.where) for each in refused)
    return [*changes] if second else []


def _of_an_override(trial: str, path: str, changes: Sequence[FactChange]) -> list[FactChange]:
    """Errors for which another error stands, below a stack: the direct path shows the right one."""
    if path == HookPath.DIRECT:
        return []
    return [
        each
        for each in changes
        if _ERROR.search(each.where) and each.base not in _NONE and each.new not in _NONE
    ]


ALLOWED = (
    Allowed(
        reason="a converted hook runs before the kernel tries to merge, and may refuse; another "
        "hook does not run for a mapping that is merged",
        source="mm/vma.c __mmap_region()",
        covers=_of_a_merge,
    ),
    Allowed(
        reason="below a stack error_override does not replace the error of an action",
        source="mm/util.c mmap_action_finish()",
        covers=_of_an_override,
    ),
)


def split_allowed(
    trial: str, path: str, changes: Sequence[FactChange]
) -> tuple[list[FactChange], list[tuple[Allowed, FactChange]]]:
    """Return the changes that count as differences, and the others with what allows them."""
    left, allowed = [*changes], []
    for kind in ALLOWED:
        covered = kind.covers(trial, path, left)
        allowed += [(kind, change) for change in covered]
        left = [change for change in left if change not in covered]
    return left, allowed
