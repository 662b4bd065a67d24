# SPDX-License-Identifier: GPL-2.0
"""Calls on each path whose allocations fail, one after another."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.faultinject import InjectedCall, Sweep, let_allocations_fail
from testbed.mmap.path import HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.probe import Prober

pytestmark = pytest.mark.kconfig("FAILSLAB", "FAIL_PAGE_ALLOC", "FAULT_INJECTION_DEBUG_FS")

FULL = Plan(vm_ops=VmOps.FULL)

MAPPINGS = {
    "plain": InjectedCall(),
    "full": InjectedCall(plan=FULL),
    "private": InjectedCall(plan=FULL, flags="private"),
    "remap": InjectedCall(plan=Plan(vm_ops=VmOps.FULL, action=Action.REMAP)),
    "remap-cow": InjectedCall(plan=Plan(action=Action.REMAP), flags="private"),
    "ioremap": InjectedCall(plan=Plan(action=Action.IOREMAP)),
    "simple-ioremap": InjectedCall(plan=Plan(action=Action.SIMPLE_IOREMAP)),
    "kernel-pages": InjectedCall(plan=Plan(vm_ops=VmOps.FULL, action=Action.KERNEL_PAGES)),
    "anonymous": InjectedCall(plan=Plan(vm_ops=VmOps.NULL), flags="private"),
    "over": InjectedCall(plan=FULL, over=True),
    "over-kernel-pages": InjectedCall(plan=Plan(action=Action.KERNEL_PAGES), over=True),
    "locked": InjectedCall(plan=FULL, flags="shared,locked"),
    "populate": InjectedCall(plan=FULL, flags="shared,populate"),
}

OPERATIONS = {
    "munmap-the-middle": InjectedCall(plan=FULL, operation=("munmap", "m", "1-2")),
    "mprotect-the-middle": InjectedCall(plan=FULL, operation=("mprotect", "m", "1-2", "prot=r")),
    "mremap": InjectedCall(
        plan=FULL, operation=("mremap", "m", "len=4p", "flags=maymove,fixed", "addr=room+16p")
    ),
}

# About a hundred allocations. fork(2) documents both errors.
FORK = InjectedCall(
    plan=Plan(vm_ops=VmOps.FULL, action=Action.KERNEL_PAGES),
    operation=("fork",),
    errors=("ENOMEM", "EAGAIN"),
)


@pytest.fixture
def failing(guest: Guest) -> Guest:
    """A guest in which every allocation can be made to fail."""
    let_allocations_fail(guest.session)
    return guest


Reached = Callable[[int], None]


@pytest.fixture
def reached(request: pytest.FixtureRequest) -> Reached:
    """Return a function that records the number of failed allocations for `--junitxml`."""
    # record_property() would warn about the format of that file.
    return lambda number: request.node.user_properties.append(("allocations", number))


@pytest.mark.guarantee(28, 54, 55, 58)
@pytest.mark.parametrize("call", MAPPINGS.values(), ids=MAPPINGS)
def test_a_mapping_that_fails_leaves_nothing(
    failing: Guest, stack: Prober, path: HookPath, call: InjectedCall, reached: Reached
) -> None:
    reached(_sweep(failing, stack, path, call))


@pytest.mark.guarantee(65, 66, 67)
@pytest.mark.parametrize("call", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_that_fails_leaves_the_mapping(
    failing: Guest, stack: Prober, path: HookPath, call: InjectedCall, reached: Reached
) -> None:
    reached(_sweep(failing, stack, path, call))


@pytest.mark.guarantee(67)
@pytest.mark.paths(HookPath.DIRECT, HookPath.STACK)
def test_a_fork_that_fails_leaves_the_mapping(
    failing: Guest, stack: Prober, path: HookPath, reached: Reached
) -> None:
    reached(_sweep(failing, stack, path, FORK))


REPLACED = {
    "shmem": InjectedCall(plan=Plan(replace="shmem")),
    "shmem-private": InjectedCall(plan=Plan(replace="shmem"), flags="private"),
    "file": InjectedCall(plan=Plan(replace="file"), replacement=True),
    "shmem-over": InjectedCall(plan=Plan(replace="shmem"), over=True),
}


@pytest.mark.guarantee(30)
@pytest.mark.paths(HookPath.DIRECT, HookPath.LEGACY)
@pytest.mark.parametrize("call", REPLACED.values(), ids=REPLACED)
def test_a_mapping_that_replaces_its_file_and_fails_leaves_nothing(
    failing: Guest, stack: Prober, path: HookPath, call: InjectedCall, reached: Reached
) -> None:
    reached(_sweep(failing, stack, path, call))


# The effect of KD1 on the accounts: each successful mapping leaks one file.
_KD1 = r"(Committed_AS|replacement of \d) is \d+ after the (call|next try), was \d+"


@pytest.mark.defect("KD1", symptom=_KD1, recorded=("7.2", "7.3.4"))
@pytest.mark.guarantee(31)
@pytest.mark.paths(*(path for path in HookPath if path.shape.compat))
@pytest.mark.parametrize("call", REPLACED.values(), ids=REPLACED)
def test_a_stacked_mapping_that_replaces_its_file_and_fails_leaves_nothing(
    failing: Guest, stack: Prober, path: HookPath, call: InjectedCall, reached: Reached
) -> None:
    reached(_sweep(failing, stack, path, call, known=_KD1))


def _sweep(
    guest: Guest, prober: Prober, path: HookPath, call: InjectedCall, known: str = ""
) -> int:
    """Fail each allocation of the call in turn. Return the number of allocations.

    A complaint that matches `known` heads the message only if there is no other.
    """
    sweep = Sweep(path, call)
    seen = prober.run(sweep.script)
    complaints = list(sweep.complaints(seen))
    if known:
        complaints.sort(key=lambda complaint: re.fullmatch(known, complaint[1]) is not None)
    if complaints:
        first, text = complaints[0]
        where = _stack(guest, prober, Sweep(path, call, only=first))
        more = "\n".join(f"allocation {number}: {text}" for number, text in complaints[1:])
        raise AssertionError(f"allocation {first} failed: {text}\n{where}\n{more}")
    number = sweep.reached(seen)
    assert number > 0, "no allocation of the call can fail"
    return number


def _stack(guest: Guest, prober: Prober, sweep: Sweep) -> str:
    """Repeat a failure. Return the stack trace of the failed allocation from the console."""
    for name in ("failslab", "fail_page_alloc"):
        guest.session.write((f"/sys/kernel/debug/{name}/verbose", b"2"))
    before = len(guest.vm.console.text())
    prober.run(sweep.script)
    shown = guest.vm.console.text()[before:]
    _, _, report = shown.rpartition("FAULT_INJECTION: forcing a failure")
    return report.partition("</TASK>")[0] or "the console shows no stack trace of the allocation"
