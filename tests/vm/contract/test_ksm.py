# SPDX-License-Identifier: GPL-2.0
"""Mappings of a process that enables KSM for all its memory (PR_SET_MEMORY_MERGE).

The kernel marks a mapping according to the flags that its hook has left.
"""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import HookEvent, Vma, only
from testbed.mmap.path import PREPARING, TOP, HookPath
from testbed.mmap.plan import VM_DONTEXPAND, VM_MERGEABLE, Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

PLAIN = Plan(vm_ops=VmOps.NO_CLOSE)
# KSM skips special mappings (mm/ksm.c, ksm_compatible()).
SPECIAL = Plan(vm_ops=VmOps.NO_CLOSE, set_flags=VM_DONTEXPAND)

pytestmark = pytest.mark.kconfig("KSM")


def offered(
    stack: Prober, path: HookPath, plan: Plan, flags: str = "private"
) -> tuple[Vma, list[HookEvent]]:
    """Enable KSM for a process, then map. Return the VMA and the log of the hooks."""
    script = path_script(path, plan)
    script.step("ksm")
    script.map("m", TOP, flags=flags)
    maps = script.maps("m")
    log = script.hooklog()
    seen = stack.run(script)
    return seen[maps].vma, seen[log].events


@pytest.mark.guarantee(19)
def test_a_private_mapping_is_marked(stack: Prober, path: HookPath) -> None:
    vma, _ = offered(stack, path, PLAIN)
    assert "mg" in vma.vmflags


@pytest.mark.guarantee(19)
def test_a_mapping_that_its_hook_made_special_is_not_marked(stack: Prober, path: HookPath) -> None:
    vma, _ = offered(stack, path, SPECIAL)
    assert "de" in vma.vmflags
    assert "mg" not in vma.vmflags


@pytest.mark.guarantee(19)
def test_a_shared_mapping_is_not_marked(stack: Prober, path: HookPath) -> None:
    vma, _ = offered(stack, path, PLAIN, "shared")
    assert "mg" not in vma.vmflags


@pytest.mark.guarantee(13)
@pytest.mark.paths(*PREPARING)
def test_no_hook_finds_the_mark(stack: Prober, path: HookPath) -> None:
    _, events = offered(stack, path, PLAIN)
    entry = only(events, "prepare")
    assert not entry.number("flags") & VM_MERGEABLE


@pytest.mark.guarantee(59)
def test_the_mark_does_not_keep_alike_neighbours_apart(stack: Prober) -> None:
    """The mark is set before the merge is tried (mm/vma.c, can_set_ksm_flags_early())."""
    script = path_script(HookPath.DIRECT, PLAIN)
    script.step("ksm")
    script.map("room", "anon", pages=4, prot="none", flags="private")
    script.map("m", TOP, pages=2, flags="private,fixed", addr="room")
    script.map("n", TOP, pages=2, offset=2, flags="private,fixed", addr="room+2p")
    maps = script.maps("room")
    vma = stack.run(script)[maps].vma
    assert "mg" in vma.vmflags


@pytest.mark.guarantee(59)
def test_the_mark_does_not_keep_anonymous_neighbours_apart(guest: Guest) -> None:
    script = Script()
    script.step("ksm")
    script.map("room", "anon", pages=4, prot="none", flags="private")
    for page in (0, 2):
        script.map("m", "anon", pages=2, flags="private,fixed", addr=f"room+{page}p")
    maps = script.maps("room")
    vma = guest.prober.run(script)[maps].vma
    assert "mg" in vma.vmflags
