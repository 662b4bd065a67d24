# SPDX-License-Identifier: GPL-2.0
"""Repeated mappings, successful or failed, leave no kernel objects behind."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from testbed.guest.session import Session
from testbed.lab.guest import Guest
from testbed.mmap.path import PREPARING, TOP, HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script

_OFTEN = 200

# Caches whose free objects can be reused at once, with SLAB_TYPESAFE_BY_RCU or without RCU.
# Objects of other caches wait for a grace period, which may come late.
_CACHES = ("anon_vma", "anon_vma_chain", "filp", "vm_area_struct")

# A node that was in a tree also waits for RCU; an unused one does not.
_UNUSED = ("maple_node",)

_FULL = Plan(vm_ops=VmOps.FULL)


@dataclass(frozen=True)
class _Case:
    """A mapping that is repeated, with the steps before its munmap()."""

    plan: Plan = _FULL
    error: str = ""  # of mmap(2)
    flags: str = "shared"
    steps: tuple[str, ...] = ()


_CASES = {
    "mapped": _Case(),
    # With a close() operation the next VMA could not be merged away.
    "split-and-merged": _Case(
        Plan(vm_ops=VmOps.NO_CLOSE), steps=("mprotect m prot=r 1", "mprotect m prot=rw 1")
    ),
    "split-for-good": _Case(steps=("munmap m 1",)),
    "moved": _Case(steps=("mremap m len=8p flags=maymove",)),
    "written-privately": _Case(flags="private", steps=("write m 0-3 1",)),
    "hook-fails": _Case(Plan(hook_error="-EIO"), "EIO"),
    "hook-fails-late": _Case(Plan(vm_ops=VmOps.FULL, hook_error_after="-EIO"), "EIO"),
    "action-fails": _Case(Plan(action=Action.KERNEL_PAGES, bad_page=2), "EINVAL"),
    "mapped-fails": _Case(Plan(vm_ops=VmOps.FULL, mapped_error="-EIO"), "EIO"),
}


@pytest.mark.guarantee(27, 28)
@pytest.mark.paths(*PREPARING)
@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
def test_a_mapping_made_often_leaves_no_object(
    stack: Prober, guest: Guest, path: HookPath, case: _Case
) -> None:
    if guest.prepared.kernel.symbol("KASAN") == "y":
        pytest.skip("KASAN delays the reuse of freed objects; kmemleak finds leaks there")
    _often(stack, path, case)  # warm up: some allocations happen only once
    before = _objects(guest.session)
    _often(stack, path, case)
    after = _objects(guest.session)
    caches = _CACHES + (_UNUSED if case.error else ())
    grown = {name: after[name] - before[name] for name in caches}
    assert all(more < _OFTEN / 2 for more in grown.values()), grown


def _often(stack: Prober, path: HookPath, case: _Case) -> None:
    script = path_script(path, case.plan)
    made, done = [], []
    for _ in range(_OFTEN):
        made.append(script.map("m", TOP, flags=case.flags))
        if not case.error:
            done += [script.step(*step.split()) for step in (*case.steps, "munmap m")]
    seen = stack.run(script)
    assert {seen[step].error for step in made} == {case.error}
    assert not any(seen[step].error for step in done)


def _objects(session: Session) -> dict[str, int]:
    """Return the number of objects in each cache, including free ones (slabinfo(5), num_objs)."""
    lines = session.get("/proc/slabinfo").decode().splitlines()[2:]
    return {name: int(total) for name, _, total, *_ in map(str.split, lines)}
