# SPDX-License-Identifier: GPL-2.0
"""Every path maps, with the same results as the direct path."""

from __future__ import annotations

import itertools

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import names
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.path import STACKS, TOP, HookPath
from testbed.mmap.plan import VM_DONTCOPY, VM_DONTDUMP, VM_DONTEXPAND, Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script

FULL = Plan(vm_ops=VmOps.FULL, private=0x51)

PROTS = ("none", "r", "rw", "rwx")
SHARINGS = ("shared", "private")

REMAP_VMFLAGS = {"io", "pf", "de", "dd"}


@pytest.mark.guarantee(18, 19)
def test_the_vma_is_that_of_the_direct_path(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.open("other", "/dev/mmap_direct")
    script.plan("other", FULL)
    shown = {}
    for prot, flags in itertools.product(PROTS, SHARINGS):
        made = [
            (script.map("m", file, pages=5, offset=3, prot=prot, flags=flags), script.maps("m"))
            for file in (TOP, "other")
        ]
        shown[prot, flags] = made
    seen = stack.run(script)
    for kind, ((mapped, vma), (_, direct)) in shown.items():
        assert seen[mapped].errno == 0, kind
        assert canonical_vma(seen[vma].vma) == canonical_vma(seen[direct].vma), kind


@pytest.mark.guarantee(9, 18)
def test_the_vma_lies_where_mmap_said(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, FULL, pages=3, offset=2)
    page = mapped.vma.size // 3
    assert mapped.vma.start == mapped.made.address
    assert mapped.vma.offset == 2 * page
    assert mapped.vma.perms == "rw-s"


@pytest.mark.guarantee(73)
def test_maps_names_the_file_that_the_vma_carries(stack: Prober, path: HookPath) -> None:
    assert stack.map(path, FULL).vma.path == f"/dev/{path.shape.final_vm_file}"


@pytest.mark.guarantee(18, 23)
def test_pages_come_from_the_hooks_fault_handler(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, FULL, offset=5, pages=3)
    assert mapped.read.contents == ["pool:5", "pool:6", "pool:7"]


@pytest.mark.guarantee(23)
def test_a_page_beyond_the_pool_is_sigbus(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, FULL, offset=62, pages=4)
    assert mapped.read.contents == ["pool:62", "pool:63", "SIGBUS", "SIGBUS"]


def test_a_shared_write_is_seen_through_the_direct_path(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.open("other", "/dev/mmap_direct")
    script.plan("other", FULL)
    script.map("m", TOP, offset=9, pages=1)
    script.map("d", "other", offset=9, pages=1)
    written = script.write("m", 0xFEED)
    read = script.read("d")
    script.step("reset", TOP if len(path.shape.nodes) == 1 else "hook")
    seen = stack.run(script)
    assert seen[written].results == ["ok"]
    assert seen[read].contents == ["fill:0xfeed"]


def test_a_private_write_stays_private(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("m", TOP, pages=1, flags="private")
    script.map("n", TOP, pages=1)
    script.write("m", 0xFEED)
    own, shared = script.read("m"), script.read("n")
    seen = stack.run(script)
    assert (seen[own].contents, seen[shared].contents) == (["fill:0xfeed"], ["pool:0"])


@pytest.mark.guarantee(53, 67)
def test_a_child_has_the_mapping_and_both_halves_are_closed(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("m", TOP, pages=2)
    with script.fork():
        child = script.read("m")
    script.step("munmap", "m")
    log = script.hooklog()
    seen = stack.run(script)
    assert seen[child].contents == ["pool:0", "pool:1"]
    order = names(seen[log].events)
    assert order.count("open") == 1
    assert order.count("close") == 2


@pytest.mark.guarantee(53, 65)
def test_a_hole_splits_and_closes_balance(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("m", TOP, pages=3)
    hole = script.step("munmap", "m", "1")
    maps = script.maps("m")
    script.step("munmap", "m")
    log = script.hooklog()
    seen = stack.run(script)
    assert seen[hole].errno == 0
    assert len(seen[maps].vmas) == 2
    first, last = seen[maps].vmas
    assert last.offset - first.offset == 2 * first.size
    order = names(seen[log].events)
    assert order.count("may_split") == order.count("open")
    assert order.count("close") == order.count("open") + 1


@pytest.mark.guarantee(65)
def test_a_protected_part_faults_and_the_rest_does_not(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("m", TOP, pages=3)
    script.step("mprotect", "m", "1", prot="r")
    write = script.write("m", 0x1)
    script.step("reset", TOP if len(path.shape.nodes) == 1 else "hook")
    assert stack.run(script)[write].results == ["ok", "SIGSEGV", "ok"]


@pytest.mark.guarantee(66)
def test_a_grown_mapping_shows_the_following_pages(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("m", TOP, pages=1)
    grown = script.step("mremap", "m", len="3p", flags="maymove")
    read = script.read("m")
    seen = stack.run(script)
    assert seen[grown].errno == 0
    assert seen[read].contents == ["pool:0", "pool:1", "pool:2"]


@pytest.mark.guarantee(66)
def test_a_moved_mapping_opens_the_copy_and_closes_the_old(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("room", "anon", pages=4, flags="private")
    script.map("m", TOP, pages=2)
    moved = script.step("mremap", "m", len="2p", flags="maymove,fixed", addr="room")
    log = script.hooklog()
    read = script.read("m")
    seen = stack.run(script)
    assert seen[moved].errno == 0
    order = [name for name in names(seen[log].events) if name in ("open", "mremap", "close")]
    assert order == ["open", "mremap", "close"]
    assert seen[read].contents == ["pool:0", "pool:1"]


@pytest.mark.guarantee(34, 39, 40)
@pytest.mark.parametrize("action", [Action.REMAP, Action.IOREMAP, Action.SIMPLE_IOREMAP])
def test_a_remapped_range_shows_the_pages_and_the_flags(
    stack: Prober, path: HookPath, action: Action
) -> None:
    mapped = stack.map(path, Plan(action=action, pool_page=7), pages=3)
    assert mapped.made.errno == 0
    assert mapped.vma.vmflags >= REMAP_VMFLAGS
    assert mapped.read.contents == ["pool:7", "pool:8", "pool:9"]


@pytest.mark.guarantee(41)
def test_kernel_pages_are_mapped_and_counted(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, Plan(action=Action.KERNEL_PAGES, pool_page=4), pages=3)
    assert "mm" in mapped.vma.vmflags
    assert mapped.read.contents == ["pool:4", "pool:5", "pool:6"]
    assert mapped.vma.smaps["Rss"] * 1024 == mapped.vma.size


# A multiple of the range of a page table, for each page size, and far from other mappings.
FAR = 128 << 30


@pytest.mark.guarantee(34, 41)
@pytest.mark.parametrize("action", [Action.REMAP, Action.KERNEL_PAGES])
def test_pages_are_mapped_across_page_tables(
    guest: Guest, stack: Prober, path: HookPath, action: Action
) -> None:
    addr = f"{FAR - 2 * guest.session.hello().page_size:#x}"
    script = path_script(path, Plan(action=action, pool_page=4))
    made = script.map("m", TOP, flags="shared,fixed_noreplace", addr=addr)
    read = script.read("m")
    seen = stack.run(script)
    assert seen[made].error == ""
    assert seen[read].contents == ["pool:4", "pool:5", "pool:6", "pool:7"]


@pytest.mark.guarantee(36)
@pytest.mark.paths(HookPath.LEGACY)
def test_remap_pfn_range_itself_rounds_a_size_up(stack: Prober, path: HookPath) -> None:
    """The action would be refused: a private mapping must be remapped as a whole."""
    script = path_script(path, Plan(action=Action.REMAP, action_size="0x800"))
    script.map("m", TOP, pages=1, flags="private")
    read = script.read("m")
    assert stack.run(script)[read].contents == ["pool:0"]


@pytest.mark.guarantee(37)
def test_a_part_that_is_not_remapped_is_sigbus(stack: Prober, path: HookPath) -> None:
    plan = Plan(action=Action.REMAP, action_offset="1p", action_size="2p", pool_page=11)
    mapped = stack.map(path, plan, pages=4)
    assert mapped.read.contents == ["SIGBUS", "pool:11", "pool:12", "SIGBUS"]


@pytest.mark.guarantee(54)
@pytest.mark.paths(*STACKS)
def test_an_outer_error_after_the_hook_leaves_nothing(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, FULL, outer=Plan(outer_error="-EPERM"))
    assert mapped.made.error == "EPERM"
    assert mapped.seen.vmas == []


@pytest.mark.guarantee(19, 41)
def test_flags_that_a_hook_sets_survive_with_an_action(stack: Prober, path: HookPath) -> None:
    plan = Plan(action=Action.KERNEL_PAGES, set_flags=VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP)
    assert stack.map(path, plan).vma.vmflags >= {"dc", "de", "dd", "mm"}
