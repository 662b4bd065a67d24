# SPDX-License-Identifier: GPL-2.0
"""The descriptor on entry to a hook, field by field."""

from __future__ import annotations

import itertools

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import named
from testbed.mmap.oracle import canonical_descriptor
from testbed.mmap.path import MMAP_STACKS, PREPARE_STACKS, PREPARING, STACKS, TOP, HookPath
from testbed.mmap.plan import (
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    Plan,
    VmOps,
)
from testbed.mmap.probe import Prober, path_script

pytestmark = pytest.mark.paths(*PREPARING)


@pytest.mark.guarantee(8)
def test_mm_is_the_callers(stack: Prober, path: HookPath) -> None:
    assert stack.map(path).descriptor.values["mm"] == "current"


@pytest.mark.guarantee(9)
def test_start_and_end_are_the_final_range(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, pages=3)
    entry = mapped.descriptor
    assert (entry.number("start"), entry.number("end")) == (mapped.vma.start, mapped.vma.end)


@pytest.mark.guarantee(10)
def test_file_is_the_one_whose_hook_runs(stack: Prober, path: HookPath) -> None:
    assert stack.map(path).descriptor.node("file") == path.shape.nodes[-1]


@pytest.mark.guarantee(11)
def test_vm_file_is_the_one_that_the_vma_carries(stack: Prober, path: HookPath) -> None:
    entry = stack.map(path).descriptor
    assert entry.node("vm_file") == path.shape.entry_vm_file
    same_node = path.shape.entry_vm_file == path.shape.nodes[-1]
    assert (entry.values["file"] == entry.values["vm_file"]) == same_node


@pytest.mark.guarantee(12)
def test_pgoff_is_the_offset_in_pages(stack: Prober, path: HookPath) -> None:
    assert stack.map(path, offset=7).descriptor.number("pgoff") == 7


@pytest.mark.guarantee(13)
@pytest.mark.parametrize(
    ("prot", "flags", "expected"),
    [
        ("r", "shared", VM_READ | VM_SHARED | VM_MAYSHARE),
        ("rw", "shared", VM_READ | VM_WRITE | VM_SHARED | VM_MAYSHARE),
        ("rw", "private", VM_READ | VM_WRITE),
        ("r", "private,noreserve", VM_READ | VM_NORESERVE),
    ],
    ids=["r-shared", "rw-shared", "rw-private", "r-private-noreserve"],
)
def test_flags_are_the_full_computed_set(
    stack: Prober, path: HookPath, prot: str, flags: str, expected: int
) -> None:
    found = stack.map(path, prot=prot, flags=flags).descriptor.number("flags")
    wanted = expected | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    assert found & wanted == wanted
    assert found & (VM_READ | VM_WRITE | VM_SHARED) == expected & (VM_READ | VM_WRITE | VM_SHARED)


@pytest.mark.guarantee(15)
def test_vm_ops_are_the_dummy(stack: Prober, path: HookPath) -> None:
    assert stack.map(path).descriptor.values["vm_ops"] == "dummy"


@pytest.mark.guarantee(16)
def test_private_data_is_null(stack: Prober, path: HookPath) -> None:
    assert stack.map(path).descriptor.values["private"] == "NULL"


@pytest.mark.guarantee(16)
@pytest.mark.paths(*MMAP_STACKS)
def test_private_data_of_the_outer_hook_is_not_handed_down(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, outer=Plan(private=0x77))
    assert mapped.descriptor.values["private"] == "NULL"


@pytest.mark.guarantee(77)
@pytest.mark.paths(*PREPARE_STACKS)
def test_private_data_of_an_outer_mmap_prepare_is_handed_down(
    stack: Prober, path: HookPath
) -> None:
    mapped = stack.map(path, outer=Plan(private=0x77))
    assert mapped.descriptor.values["private"] == "0x77"


@pytest.mark.guarantee(10, 77)
@pytest.mark.paths(*PREPARE_STACKS)
def test_the_outer_hook_finds_its_own_file_again(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL))
    outer, done = (next(named(mapped.events, name)) for name in ("outer", "outer_done"))
    assert mapped.descriptor.node("file") == "mmap_direct"
    assert outer.node("file") == done.node("file") == path.shape.nodes[0]


@pytest.mark.guarantee(15)
@pytest.mark.paths(*STACKS)
def test_vm_ops_of_the_outer_hook_are_handed_down(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, outer=Plan(vm_ops=VmOps.FULL))
    assert mapped.descriptor.values["vm_ops"] == "full"


@pytest.mark.guarantee(17)
def test_there_is_no_action_yet(stack: Prober, path: HookPath) -> None:
    entry = stack.map(path).descriptor
    assert (entry.values["action"], entry.values["override"], entry.values["hide"]) == (
        "none",
        "0",
        "0",
    )


@pytest.mark.guarantee(12, 13, 14, 15, 16, 17)
def test_the_descriptor_is_that_of_the_direct_path(stack: Prober, path: HookPath) -> None:
    script = path_script(path)
    script.open("other", "/dev/mmap_direct")
    kinds = list(itertools.product(("none", "r", "rw", "rwx"), ("shared", "private")))
    for prot, flags in kinds:
        for file in (TOP, "other"):
            script.map("m", file, offset=2, prot=prot, flags=flags)
    log = script.hooklog()
    found = list(named(stack.run(script)[log].events, "prepare"))
    assert len(found) == 2 * len(kinds)
    entries = iter(found)
    for kind, mapped, direct in zip(kinds, entries, entries, strict=True):
        assert canonical_descriptor(mapped) == canonical_descriptor(direct), kind


@pytest.mark.guarantee(13, 69)
def test_a_locked_mapping_says_so(guest: Guest, stack: Prober, path: HookPath) -> None:
    vm_locked = 1 << 13
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL), flags="shared,locked")
    assert mapped.descriptor.number("flags") & vm_locked
    assert "lo" in mapped.vma.vmflags
