# SPDX-License-Identifier: GPL-2.0
"""The verdict on an execution: by the contract's rules, and by comparison with another path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.mmap.canonical import DROPPED_VMFLAGS, canonical
from testbed.mmap.differences import is_allowed
from testbed.mmap.execution import Execution
from testbed.mmap.guarantees import GUARANTEES
from testbed.mmap.observation import HookEvent, Vma
from testbed.mmap.path import HookPath
from testbed.mmap.rules import Violation, violations
from testbed.mmap.scenario import OpenDefect

# Descriptor fields that depend on the address of the mapping or on the files of the path.
_PLACED = frozenset({"start", "end", "file", "vm_file"})

_ABSENT = "-"


@dataclass(frozen=True)
class Disagreement:
    """One unexpected difference between two executions of a scenario."""

    where: str
    reference: str
    seen: str


def reference_path(path: HookPath, paths: Iterable[HookPath]) -> HookPath | None:
    """Return the path to compare with: legacy for the direct path, direct for all others."""
    wanted = HookPath.LEGACY if path is HookPath.DIRECT else HookPath.DIRECT
    return wanted if wanted in paths else None


def disagreements(execution: Execution, reference: Execution, version: str) -> list[Disagreement]:
    """Return the unexpected differences between an execution and its reference."""
    prepares = execution.path.shape.prepares and reference.path.shape.prepares
    seen, wanted = (canonical(each, prepares=prepares) for each in (execution, reference))
    places = [where for where in {**wanted, **seen} if wanted.get(where) != seen.get(where)]
    return [
        Disagreement(where, wanted.get(where, _ABSENT), seen.get(where, _ABSENT))
        for where in places
        if not is_allowed(execution.scenario, execution.path, where, version)
    ]


def check(execution: Execution, reference: Execution | None, version: str) -> None:
    """Raise AssertionError, with both executions, if a rule is violated or the paths differ.

    An open defect that the scenario is known to show excuses its own symptom only. If anything
    else is wrong, the message leaves the symptom out.
    """
    broken = violations(execution)
    differing = disagreements(execution, reference, version) if reference is not None else []
    defect = execution.scenario.defect(execution.path)
    others = [each for each in broken if not _is_symptom(each, defect)]
    elsewhere = [each for each in differing if not _is_touched(each, defect)]
    if others or elsewhere:
        broken, differing = others, elsewhere
    if broken or differing:
        raise AssertionError("\n".join(_complaint(execution, reference, broken, differing)))


def _is_symptom(violation: Violation, defect: OpenDefect | None) -> bool:
    return defect is not None and bool(re.search(defect.symptom, violation.headline))


def _is_touched(disagreement: Disagreement, defect: OpenDefect | None) -> bool:
    return defect is not None and bool(re.fullmatch(defect.touches, disagreement.where))


def _complaint(
    execution: Execution,
    reference: Execution | None,
    broken: list[Violation],
    differing: list[Disagreement],
) -> Iterator[str]:
    scenario = execution.scenario
    # The first line is the reason: tests that fail alike have equal ones, so it names no scenario.
    yield "; ".join(_headline(broken, differing))
    yield f"{scenario.name} on {execution.path}: plan {scenario.plan}; call {scenario.call}"
    yield from map(str, broken)
    yield from _promises(broken)
    if reference is not None and differing:
        width = max(len(each.where) for each in differing)
        yield f"{'':{width}}  {reference.path} | {execution.path}"
        yield from (f"{each.where:{width}}  {each.reference} | {each.seen}" for each in differing)
    for each in (execution, reference):
        if each is not None:
            yield f"hook log on {each.path}:"
            yield from (f"  {_shown(event)}" for event in each.events)


def _promises(broken: list[Violation]) -> Iterator[str]:
    """The text and the source of each violated guarantee."""
    numbers = {number for each in broken for number in each.guarantees}
    for guarantee in GUARANTEES:
        if guarantee.number in numbers:
            yield f"  guarantee {guarantee.number}: {guarantee.text} ({guarantee.source})"


def _headline(broken: list[Violation], differing: list[Disagreement]) -> Iterator[str]:
    if broken:
        yield broken[0].headline
    if differing:
        yield f"{differing[0].where} differs from the reference"


def _shown(event: HookEvent) -> str:
    values = " ".join(f"{key}={value}" for key, value in event.values.items())
    return f"{event.sequence} {event.name} {values}"


def canonical_vma(vma: Vma) -> dict[str, object]:
    """A VMA without its address and its file: equal on all paths for the same plan."""
    return {
        "size": vma.size,
        "perms": vma.perms,
        "offset": vma.offset,
        "vmflags": sorted(vma.vmflags - DROPPED_VMFLAGS),
        "ProtectionKey": vma.smaps.get("ProtectionKey", 0),
    }


def without_may_exec(vma: Vma) -> Vma:
    """Drop VM_MAYEXEC, which depends on the mount of the mapped file (noexec)."""
    return dataclasses.replace(vma, vmflags=vma.vmflags - {"me"})


def canonical_descriptor(event: HookEvent) -> dict[str, object]:
    """A descriptor without its address and its files: equal on all paths that run the hook."""
    kept = {key: value for key, value in event.values.items() if key not in _PLACED}
    return {**kept, "size": event.number("end") - event.number("start")}
