# SPDX-License-Identifier: GPL-2.0
"""A scenario: one plan, one mmap call, and the steps of userspace around it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from testbed.guest.splat_patterns import SplatKind
from testbed.mmap.path import HookPath
from testbed.mmap.plan import NOTHING, Plan

# Keys that a .mmap hook does not support: they concern the descriptor or mapped().
_PREPARE_ONLY = frozenset(
    {
        "late_page_prot",
        "mapped_error",
        "mapped_private",
        "error_override",
        "hide",
        "shrink_start",
        "shrink_end",
        "widen_end",
        "scribble",
    }
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of mmap(2). Sizes are in pages."""

    pages: int = 4
    offset: int = 0
    prot: str = "rw"
    flags: str = "shared"
    addr: str | None = None

    @property
    def shared(self) -> bool:
        return "private" not in self.flags.split(",")

    @property
    def writable(self) -> bool:
        return "w" in self.prot

    @property
    def fixed(self) -> bool:
        return "fixed" in self.flags.split(",")

    @property
    def locked(self) -> bool:
        return "locked" in self.flags.split(",")


@dataclass(frozen=True)
class OpenDefect:
    """A recorded defect of the kernel that a scenario shows on some paths (docs/findings.md)."""

    name: str
    symptom: str  # a regular expression, searched in the failure message
    recorded: tuple[str, str]  # first and last version that shows it
    paths: tuple[HookPath, ...]
    fixed: str = ""  # first version with the fix, if there is one
    touches: str = ""  # a regular expression for the canonical places that differ too


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A plan, a call and its steps, identical on every path that can express them.

    `before` and `after` are steps of the probe's language (docs/probe.md) before and after
    the mmap call. The mapping is called `m`, and the mapped file `top`. `{hook}` stands for
    the file whose hook runs.
    """

    name: str
    guarantees: tuple[int, ...] = ()
    plan: Plan = NOTHING
    outer: Plan = NOTHING  # the plan of a stack's outermost node
    call: Call = Call()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    spare: str = ""  # the step that opens the file `spare`, which replaces vm_file
    touch: bool = True  # read the whole mapping before `after`
    fail_nth: int = 0  # this allocation of the mmap call fails (testbed/mmap/faultinject.py)
    only_paths: tuple[HookPath, ...] = tuple(HookPath)
    splat: tuple[SplatKind, str] | None = None  # the kernel must print it
    defects: tuple[OpenDefect, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def paths(self) -> tuple[HookPath, ...]:
        """The paths that can express the scenario."""
        return tuple(path for path in self.only_paths if self._fits(path))

    @property
    def mappings(self) -> tuple[str, ...]:
        """The names of all mappings that the scenario makes, `m` first."""
        lines = [*self.before, *self.after]
        found = [match[1] for line in lines if (match := _MAPS.match(line))]
        found += [match[1] for line in lines if (match := _AS.search(line))]
        return tuple(dict.fromkeys(["m", *found]))

    def defect(self, path: HookPath) -> OpenDefect | None:
        """Return the defect that this scenario shows on a path, or None."""
        return next((defect for defect in self.defects if path in defect.paths), None)

    def _fits(self, path: HookPath) -> bool:
        used = {field.name for field in dataclasses.fields(Plan) if getattr(self.plan, field.name)}
        if not path.shape.prepares and used & _PREPARE_ONLY:
            return False
        # This path stores its lower file in vm_file after the hook, over the replacement.
        if path is HookPath.STACK_AFTER and self.plan.replace:
            return False
        return self.outer is NOTHING or len(path.shape.nodes) > 1


_MAPS = re.compile(r"(?:second )?map (\w+) ")
_AS = re.compile(r" as=(\w+)")
