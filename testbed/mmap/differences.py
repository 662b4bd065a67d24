# SPDX-License-Identifier: GPL-2.0
"""All allowed differences between paths, each with its reason.

Any other difference is a failure. Open defects of the kernel do not belong here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from testbed.kernel.version import numbers_of
from testbed.mmap.path import HookPath
from testbed.mmap.plan import VmOps
from testbed.mmap.scenario import Scenario

_COMPAT = frozenset(path for path in HookPath if path.shape.compat)


@dataclass(frozen=True, kw_only=True)
class AllowedDifference:
    """A difference from the reference that is not a bug."""

    reason: str
    source: str  # the function of the kernel that causes it
    paths: frozenset[HookPath]  # of the compared execution; the reference is on another path
    where: re.Pattern[str]  # a place in the canonical form, matched whole
    given: Callable[[Scenario], bool] = lambda scenario: True
    kernels: tuple[str, str] = ("7.2", "")  # first and last version; an empty string: no end known

    def allows(self, scenario: Scenario, path: HookPath, where: str) -> bool:
        """Whether it covers a difference at `where` of an execution on `path`."""
        return path in self.paths and bool(self.where.fullmatch(where)) and self.given(scenario)


DIFFERENCES = (
    AllowedDifference(
        reason="mapped() runs before the VMA is in the tree: the outer .mmap has not returned yet",
        source="mm/util.c __compat_vma_mmap(), mm/vma.c __mmap_new_vma()",
        paths=_COMPAT,
        where=re.compile(r".*hooklog\.\d+ mapped\.visible"),
    ),
    AllowedDifference(
        reason="only the direct path hides a mapping: below .mmap the VMA is not in the rmap yet",
        source="mm/vma.c __mmap_new_vma() calls vma_link_file() once .mmap has returned",
        paths=_COMPAT,
        where=re.compile(r".*hooklog\.\d+ mapped\.rmap_locked"),
        given=lambda scenario: bool(scenario.plan.hide),
    ),
    AllowedDifference(
        reason="error_override replaces only errors after which the direct path itself unmaps",
        source="mm/util.c mmap_action_finish() returns early when is_compat",
        paths=_COMPAT,
        where=re.compile(r"0 map\.(errno|error)"),
        given=lambda scenario: bool(scenario.plan.error_override),
    ),
    AllowedDifference(
        reason="pages are inserted before vma_set_page_prot() removes write access",
        source="mm/vma.c __mmap_complete() runs after .mmap, before the direct path's action",
        paths=_COMPAT | {HookPath.DIRECT},
        where=re.compile(r".*(hooklog\..*|\.soft_dirty|smaps\..*)"),
        given=lambda scenario: scenario.plan.vm_ops is VmOps.MKWRITE,
    ),
)


def is_allowed(scenario: Scenario, path: HookPath, where: str, version: str) -> bool:
    """Whether a difference between an execution on `path` and its reference is allowed."""
    return any(
        entry.allows(scenario, path, where) and _in_range(version, *entry.kernels)
        for entry in DIFFERENCES
    )


def _in_range(version: str, first: str, last: str) -> bool:
    here = numbers_of(version)
    return numbers_of(first) <= here and (not last or here <= numbers_of(last))
