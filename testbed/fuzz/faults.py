# SPDX-License-Identifier: GPL-2.0
"""Programs in which allocations fail: what a guest needs for them, and what may then differ.

The Nth allocation of a call is another one on another path. So paths are compared up to the first
failure. What is true of every mapping, and the ledger, judge the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from testbed.errors import ProbeKilled, TestbedError
from testbed.fuzz.program import LOOK, MEMCG, Fault, Program
from testbed.kernel.build import Kernel
from testbed.lab.guest import Guest
from testbed.mmap.canonical import DROPPED_VMFLAGS
from testbed.mmap.execution import Execution
from testbed.mmap.faultinject import let_allocations_fail
from testbed.mmap.observation import Fact
from testbed.mmap.rules import Violation

_NEEDED = {
    Fault.ALLOCATION: ("FAULT_INJECTION_DEBUG_FS", "FAILSLAB", "FAIL_PAGE_ALLOC"),
    Fault.MEMORY: ("MEMCG",),
}

# Calls on a range of which they may have changed a part: the VMAs before the one that fails.
IN_PARTS = frozenset({"mprotect", "madvise", "munlock"})

# These leave the VMA locked, or a hole, when they fail at last.
CHANGING = frozenset({"mlock", "remap_file_pages"})

_NEVER = 1 << 30  # no script has so many steps


def faults_of(kernel: Kernel) -> frozenset[Fault]:
    """Return the faults that a kernel can be made to have."""
    return frozenset(
        fault
        for fault, symbols in _NEEDED.items()
        if all(kernel.symbol(symbol) == "y" for symbol in symbols)
    )


def allow_faults(guest: Guest) -> None:
    """Let any allocation of a fresh guest fail, if its kernel can."""
    if Fault.ALLOCATION in faults_of(guest.prepared.kernel):
        let_allocations_fail(guest.session)


def first_fault(execution: Execution) -> int:
    """Return the number of the first step in which an allocation failed, or may have failed."""
    facts = execution.seen.facts.values()
    return min((fact.step for fact in facts if fact.injected or _limits(fact)), default=_NEVER)


def failed_allocations(execution: Execution) -> int:
    """Return how many allocations were made to fail."""
    return sum(fact.injected for fact in execution.seen.facts.values())


def call_was_disturbed(execution: Execution) -> bool:
    """Whether the model does not predict the program's mmap call, because of a fault."""
    return first_fault(execution) <= execution.steps.map


def may_be_killed(program: Program, error: TestbedError) -> bool:
    """Whether the kernel killed a process that needed more memory than its cgroup has."""
    return program.limited and isinstance(error, ProbeKilled)


def a_failed_allocation_changes_nothing(execution: Execution) -> Iterator[Violation]:
    """A call that fails because an allocation failed leaves the program's mapping as it was."""
    facts = {fact.step: fact for fact in execution.seen.facts.values() if not fact.child}
    lines = execution.seen.script.splitlines()
    for step, fact in facts.items():
        # The line before the call is `fail_nth`.
        looked = lines[step - 3 : step - 2] == [LOOK] and lines[step : step + 1] == [LOOK]
        if not (fact.injected and fact.error and looked) or _second_runs(lines[:step]):
            continue
        before, after = facts[step - 2], facts[step + 1]
        parts = fact.op in IN_PARTS and len(before.vmas) > 1
        if fact.op not in CHANGING and not parts and _pages(before) != _pages(after):
            page = execution.page_size
            what = f"mapping after a failed {fact.op}"
            yield Violation((54,), what, _shown(before, page), _shown(after, page))


def _second_runs(lines: list[str]) -> bool:
    """Whether the second task does something meanwhile."""
    last = next((line for line in reversed(lines) if line.startswith(("second ", "join"))), "")
    return last.startswith("second ")


def _limits(fact: Fact) -> bool:
    return fact.op == MEMCG and not fact.error


def _pages(fact: Fact) -> list[tuple[object, ...]]:
    """The mapping, whatever VMAs it is split into: adjacent equal ones are joined."""
    joined: list[tuple[int, int, tuple[object, ...]]] = []
    for vma in fact.vmas:
        start, offset = vma.start, vma.offset - vma.start if vma.path else 0
        kind = (vma.perms, vma.path, offset, vma.vmflags - DROPPED_VMFLAGS)
        if joined and joined[-1][1] == vma.start and joined[-1][2] == kind:
            start = joined.pop()[0]
        joined.append((start, vma.end, kind))
    return list(joined)


def _shown(fact: Fact, page: int) -> str:
    first = min((vma.start for vma in fact.vmas), default=0)
    return (
        ", ".join(
            f"{(vma.start - first) // page}-{(vma.end - first) // page} {vma.perms} "
            f"{' '.join(sorted(vma.vmflags - DROPPED_VMFLAGS))}"
            for vma in fact.vmas
        )
        or "none"
    )
