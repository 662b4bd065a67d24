# SPDX-License-Identifier: GPL-2.0
"""Merging of neighbours into one VMA, and the conditions that prevent it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import Observation, named, names
from testbed.mmap.path import (
    KEEPING,
    PREPARING,
    SWITCHING,
    TOP,
    HookPath,
    hook_name,
    open_path,
)
from testbed.mmap.plan import NOTHING, VM_DONTCOPY, Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

FULL = Plan(vm_ops=VmOps.FULL, private=0x1)
OTHER = Plan(vm_ops=VmOps.NO_CLOSE, private=0x2)

BELOW_MMAP = tuple(path for path in KEEPING if not path.shape.by_core)

# Below an outer mmap_prepare a switched file is known before the merge.
SWITCHING_LATE = tuple(path for path in SWITCHING if path.shape.compat)


class Neighbours:
    """Two adjacent mappings of two pages each: `m`, and `n` behind it."""

    def __init__(
        self,
        path: HookPath,
        first: Plan,
        second: Plan | None = None,
        *,
        flags: str = "shared",
        offset: int = 2,
    ) -> None:
        self.script = path_script(path, first)
        self.script.map("room", "anon", pages=8, prot="none", flags="private")
        self.script.map("m", TOP, pages=2, flags=f"{flags},fixed", addr="room")
        if second is not None:
            self.script.plan(hook_name(path), second)
        self.made = self.script.map(
            "n", TOP, pages=2, offset=offset, flags=f"{flags},fixed", addr="room+2p"
        )
        self.script.step("munmap", "room", "4-7")
        self.maps = self.script.maps("room")
        self.log = self.script.hooklog()
        self.vma = self.script.step("vma", "n")
        self.read = self.script.read("room", "0-3")
        self.script.step("munmap", "room", "0-3")
        self.end = self.script.hooklog()

    def run(self, stack: Prober) -> Observation:
        return stack.run(self.script)


@pytest.mark.guarantee(59, 60, 63)
@pytest.mark.paths(*KEEPING)
def test_alike_neighbours_become_one(stack: Prober, path: HookPath) -> None:
    pair = Neighbours(path, FULL)
    seen = pair.run(stack)
    assert len(seen[pair.maps].vmas) == 1
    assert seen[pair.read].contents == ["pool:0", "pool:1", "pool:2", "pool:3"]
    assert names(seen[pair.end].events).count("close") == 1


@pytest.mark.guarantee(48, 59)
@pytest.mark.paths(HookPath.DIRECT, HookPath.PREPARE_STACK)
def test_prepare_runs_for_a_mapping_that_is_merged_and_mapped_does_not(
    stack: Prober, path: HookPath
) -> None:
    pair = Neighbours(path, FULL)
    order = names(pair.run(stack)[pair.log].events)
    assert (order.count("prepare"), order.count("mapped"), order.count("mmap")) == (2, 1, 0)


@pytest.mark.guarantee(48, 60)
@pytest.mark.paths(*BELOW_MMAP)
def test_no_hook_runs_for_a_mapping_that_is_merged(stack: Prober, path: HookPath) -> None:
    pair = Neighbours(path, FULL)
    events = pair.run(stack)[pair.log].events
    outer = max(len(path.shape.nodes) - 1, 1)
    assert names(events).count("mmap") == outer
    assert names(events).count("prepare") == int(path.shape.prepares)


@pytest.mark.guarantee(59)
def test_a_merged_mapping_keeps_what_the_first_hook_has_set(stack: Prober) -> None:
    """The second hook's vm_ops and private data are ignored.

    Commit 976d5e0ddac8 "mm/vma: predicate setting mmap_prepare VMA fields on new vma alloc".
    """
    pair = Neighbours(HookPath.DIRECT, FULL, OTHER)
    seen = pair.run(stack)
    vma = seen[pair.vma].values
    assert len(seen[pair.maps].vmas) == 1
    assert (vma["vm_ops"], vma["private"]) == ("full", "0x1")
    assert [event.values["private"] for event in named(seen[pair.end].events, "close")] == ["0x1"]


@pytest.mark.guarantee(59, 60)
@pytest.mark.paths(*KEEPING)
@pytest.mark.parametrize("hole", [False, True], ids=["over-another", "into-a-hole"])
def test_a_mapping_joins_the_one_behind_it(stack: Prober, path: HookPath, hole: bool) -> None:
    script = path_script(path, FULL)
    script.map("room", "anon", pages=6, prot="none", flags="private")
    script.map("n", TOP, pages=2, offset=4, flags="shared,fixed", addr="room+3p")
    if hole:
        script.step("munmap", "room", "1-2")
    script.map("m", TOP, pages=2, offset=2, flags="shared,fixed", addr="room+1p")
    script.step("munmap", "room", "0")
    script.step("munmap", "room", "5")
    maps, vma = script.maps("room"), script.step("vma", "m")
    read = script.read("room", "1-4")
    seen = stack.run(script)
    assert len(seen[maps].vmas) == 1
    assert seen[vma].values["pgoff"] == "0x2"
    assert seen[read].contents == [f"pool:{page}" for page in range(2, 6)]


@pytest.mark.guarantee(59, 60)
@pytest.mark.paths(*KEEPING)
def test_the_lowest_mapping_joins_the_one_behind_it(stack: Prober, path: HookPath) -> None:
    """No mapping is before it."""
    script = path_script(path, FULL)
    flags = "shared,fixed_noreplace"
    script.map("n", TOP, pages=2, offset=2, flags=flags, addr="18p")
    made = script.map("m", TOP, pages=2, flags=flags, addr="16p")
    maps, read = script.maps("m"), script.read("m", "0-3")
    seen = stack.run(script)
    assert seen[maps].vma.size == 2 * seen[made].values["len"]
    assert seen[read].contents == [f"pool:{page}" for page in range(4)]


@pytest.mark.guarantee(59, 60)
@pytest.mark.paths(*KEEPING)
@pytest.mark.parametrize("order", [("m", "n"), ("n", "m")], ids=["behind", "before"])
def test_a_hole_keeps_neighbours_apart(
    stack: Prober, path: HookPath, order: tuple[str, str]
) -> None:
    """Their offsets are adjacent, but their addresses are not."""
    places = {"m": (1, 0), "n": (3, 1)}
    script = path_script(path, FULL)
    script.map("room", "anon", pages=5, prot="none", flags="private")
    script.step("munmap", "room", "1-3")
    for name in order:
        page, offset = places[name]
        addr = f"room+{page}p"
        script.map(name, TOP, pages=1, offset=offset, flags="shared,fixed", addr=addr)
    read = script.read("room", "1-3")
    maps = [script.maps(name) for name in order]
    seen = stack.run(script)
    assert seen[read].contents == ["pool:0", "SIGSEGV", "pool:1"]
    assert [len(seen[step].vmas) for step in maps] == [1, 1]


@pytest.mark.guarantee(59, 60, 64)
@pytest.mark.paths(*KEEPING)
def test_private_neighbours_that_nobody_wrote_to_become_one(stack: Prober, path: HookPath) -> None:
    script = path_script(path, OTHER)
    script.map("room", "anon", pages=6, prot="none", flags="private")
    for name, page in (("m", 0), ("n", 2), ("o", 4)):
        _place(script, name, page, "private")
    maps, read = script.maps("room"), script.read("room", "0-5")
    seen = stack.run(script)
    assert len(seen[maps].vmas) == 1
    assert seen[read].contents == [f"pool:{page}" for page in range(6)]


@pytest.mark.guarantee(64)
@pytest.mark.paths(*KEEPING)
def test_private_neighbours_with_pages_of_their_own_stay_apart(
    stack: Prober, path: HookPath
) -> None:
    """A mapping between them may join only one: each has its own anonymous pages."""
    script = path_script(path, OTHER)
    script.map("room", "anon", pages=6, prot="none", flags="private")
    for name, page in (("m", 0), ("n", 4)):
        _place(script, name, page, "private")
        script.write(name, 0x21 + page)
    _place(script, "between", 2, "private")
    maps, read = script.maps("room"), script.read("room", "0-5")
    seen = stack.run(script)
    assert len(seen[maps].vmas) == 2
    wanted = ["fill:0x21"] * 2 + ["pool:2", "pool:3"] + ["fill:0x25"] * 2
    assert seen[read].contents == wanted


@pytest.mark.guarantee(64, 67)
@pytest.mark.paths(*KEEPING)
@pytest.mark.parametrize(("forked", "count"), [(True, 2), (False, 1)], ids=["child", "parent"])
def test_what_a_child_inherited_with_pages_of_its_own_is_not_joined(
    stack: Prober, path: HookPath, forked: bool, count: int
) -> None:
    """The child's VMA is linked to the parent's anon_vma (mm/vma.c, vma_is_fork_child())."""
    script = path_script(path, OTHER)
    script.map("room", "anon", pages=4, prot="none", flags="private")
    _place(script, "m", 0, "private")
    script.write("m", 0x31)
    with script.fork() if forked else nullcontext():
        _place(script, "n", 2, "private")
        maps, read = script.maps("room"), script.read("room", "0-3")
    seen = stack.run(script)
    assert len(seen[maps].vmas) == count
    assert seen[read].contents == ["fill:0x31"] * 2 + ["pool:2", "pool:3"]


@pytest.mark.guarantee(59)
def test_a_flag_that_the_hook_sets_is_part_of_the_comparison(stack: Prober) -> None:
    dontcopy = Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTCOPY)
    alike = Neighbours(HookPath.DIRECT, dontcopy)
    unlike = Neighbours(HookPath.DIRECT, FULL, dontcopy)
    assert len(alike.run(stack)[alike.maps].vmas) == 1
    assert len(unlike.run(stack)[unlike.maps].vmas) == 2


@pytest.mark.guarantee(60)
@pytest.mark.paths(*(path for path in BELOW_MMAP if path.shape.prepares))
def test_below_mmap_a_flag_that_the_hook_sets_prevents_the_merge(
    stack: Prober, path: HookPath
) -> None:
    pair = Neighbours(path, Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTCOPY))
    seen = pair.run(stack)
    assert len(seen[pair.maps].vmas) == 2
    assert names(seen[pair.log].events).count("prepare") == 2


@pytest.mark.guarantee(59)
@pytest.mark.paths(*HookPath)
def test_a_gap_in_the_offsets_prevents_the_merge(stack: Prober, path: HookPath) -> None:
    pair = Neighbours(path, FULL, offset=3)
    seen = pair.run(stack)
    assert len(seen[pair.maps].vmas) == 2
    assert seen[pair.read].contents == ["pool:0", "pool:1", "pool:3", "pool:4"]


@pytest.mark.guarantee(18, 59)
def test_the_offset_that_the_hook_sets_is_part_of_the_comparison(stack: Prober) -> None:
    near = Neighbours(HookPath.DIRECT, Plan(vm_ops=VmOps.FULL, pgoff=4), _at(6), offset=9)
    far = Neighbours(HookPath.DIRECT, Plan(vm_ops=VmOps.FULL, pgoff=4), _at(7), offset=6)
    assert len(near.run(stack)[near.maps].vmas) == 1
    assert len(far.run(stack)[far.maps].vmas) == 2


def _place(script: Script, name: str, page: int, sharing: str) -> None:
    """Map two pages of the file into `room`; both offsets are `page`."""
    addr = f"room+{page}p"
    script.map(name, TOP, pages=2, offset=page, flags=f"{sharing},fixed", addr=addr)


def _at(pgoff: int) -> Plan:
    return Plan(vm_ops=VmOps.FULL, pgoff=pgoff)


@pytest.mark.guarantee(61)
@pytest.mark.paths(*SWITCHING_LATE)
def test_a_switched_file_is_merged_only_later(stack: Prober, path: HookPath) -> None:
    pair = Neighbours(path, OTHER)
    script = path_script(path, OTHER)
    script.map("room", "anon", pages=8, prot="none", flags="private")
    for name, offset in (("m", 0), ("n", 2)):
        script.map(name, TOP, pages=2, offset=offset, flags="shared,fixed", addr=f"room+{offset}p")
    script.step("mprotect", "room", "0-3", prot="r")
    script.step("mprotect", "room", "0-3", prot="rw")
    script.step("munmap", "room", "4-7")
    later = script.maps("room")
    log = script.hooklog()
    at_once, seen = pair.run(stack), stack.run(script)
    assert len(at_once[pair.maps].vmas) == 2
    assert len(seen[later].vmas) == 1
    assert names(seen[log].events).count("mapped") == 2


@pytest.mark.guarantee(62)
@pytest.mark.paths(*HookPath)
@pytest.mark.parametrize(
    "action", [Action.REMAP, Action.IOREMAP, Action.SIMPLE_IOREMAP, Action.KERNEL_PAGES]
)
def test_special_mappings_are_never_merged(stack: Prober, path: HookPath, action: Action) -> None:
    pair = Neighbours(path, Plan(vm_ops=VmOps.FULL, action=action))
    seen = pair.run(stack)
    assert len(seen[pair.maps].vmas) == 2
    order = names(seen[pair.log].events)
    assert order.count("mapped") == (2 if path.shape.prepares else 0)


@pytest.mark.guarantee(63)
@pytest.mark.parametrize(("plan", "count"), [(FULL, 2), (OTHER, 1)], ids=["close", "no-close"])
def test_only_a_close_keeps_the_next_vma_from_being_merged_away(
    stack: Prober, plan: Plan, count: int
) -> None:
    script = path_script(HookPath.DIRECT, plan)
    script.map("room", "anon", pages=8, prot="none", flags="private")
    for name, page in (("m", 0), ("n", 4), ("between", 2)):
        _place(script, name, page, "shared")
    script.step("munmap", "room", "6-7")
    maps, read = script.maps("room"), script.read("room", "0-5")
    seen = stack.run(script)
    assert len(seen[maps].vmas) == count
    assert seen[read].contents == [f"pool:{page}" for page in range(6)]


@pytest.mark.guarantee(64)
@pytest.mark.paths(HookPath.DIRECT, HookPath.LEGACY)
@pytest.mark.parametrize("moved", ["last", "first"])
def test_a_moved_private_mapping_is_not_merged(
    guest: Guest, stack: Prober, path: HookPath, moved: str
) -> None:
    """Since Linux 7.3 its anonymous pages keep the offsets of their first address (anon_pgoff)."""
    script = path_script(path, OTHER)
    script.map("room", "anon", pages=4, prot="none", flags="private")
    script.map("n", TOP, pages=2, offset=2, flags="private")
    script.write("n", 0x7)
    if moved == "last":
        script.map("m", TOP, pages=2, flags="private,fixed", addr="room")
    move = script.step("mremap", "n", len="2p", flags="maymove,fixed", addr="room+2p")
    if moved == "first":
        script.map("m", TOP, pages=2, flags="private,fixed", addr="room")
    maps, read = script.maps("room"), script.read("room", "0-3")
    seen = stack.run(script)
    assert seen[move].errno == 0
    assert seen[read].contents == ["pool:0", "pool:1", "fill:0x7", "fill:0x7"]
    if len(seen[maps].vmas) == 1 and guest.prepared.kernel.version.startswith("7.2."):
        pytest.skip("this kernel does not keep anonymous offsets of file mappings")
    assert len(seen[maps].vmas) == 2


@pytest.mark.guarantee(27, 29, 59)
@pytest.mark.defect(
    "KD13", symptom=r"the replacement has \d+ references, had \d+", recorded=("7.2", "7.3.4")
)
def test_a_replaced_vm_file_is_released_when_the_mapping_is_merged(stack: Prober) -> None:
    """mm/vma.c, __mmap_region(): a merge does not use the replacement, and nothing puts it."""
    script = Script()
    script.step("memfd", "spare", "8p")
    plan = Plan(vm_ops=VmOps.FULL, replace="file")
    open_path(script, HookPath.DIRECT, plan, replacement="spare")
    script.map("room", "anon", pages=8, prot="none", flags="private")
    before = script.step("counts", TOP)
    for name, offset in (("m", 0), ("n", 2)):
        script.map(name, TOP, pages=2, offset=offset, flags="shared,fixed", addr=f"room+{offset}p")
    script.step("munmap", "room", "4-7")
    maps = script.maps("room")
    script.step("munmap", "room", "0-3")
    after = script.step("counts", TOP)
    seen = stack.run(script)
    assert len(seen[maps].vmas) == 1
    had, has = (seen[step].values["replacement"] for step in (before, after))
    assert has == had, f"the replacement has {has} references, had {had}"


@pytest.mark.guarantee(27, 59)
@pytest.mark.paths(HookPath.PREPARE_FIRST)
@pytest.mark.defect(
    "KD13", symptom=r"the lower file has \d+ references, had \d+", recorded=("7.2", "7.3.4")
)
def test_a_switched_file_is_released_when_the_mapping_is_merged(
    stack: Prober, path: HookPath
) -> None:
    """It merges at once, other than below .mmap, and the merge does not use its reference."""
    script = path_script(path, FULL)
    script.map("room", "anon", pages=4, prot="none", flags="private")
    before = script.step("counts", TOP)
    for name, page in (("m", 0), ("n", 2)):
        _place(script, name, page, "shared")
    maps = script.maps("room")
    script.step("munmap", "room")
    after = script.step("counts", TOP)
    seen = stack.run(script)
    assert len(seen[maps].vmas) == 1
    had, has = (seen[step].values["lower"] for step in (before, after))
    assert has == had, f"the lower file has {has} references, had {had}"


@pytest.mark.guarantee(59)
@pytest.mark.paths(*PREPARING)
def test_a_hook_that_fails_beside_a_neighbour_leaves_it_alone(
    stack: Prober, path: HookPath
) -> None:
    if path in BELOW_MMAP:
        pair = Neighbours(path, FULL, Plan(hook_error="-EIO"), offset=3)
    else:
        pair = Neighbours(path, FULL, Plan(hook_error="-EIO"))
    seen = pair.run(stack)
    assert seen[pair.made].error == "EIO"
    assert [vma.offset for vma in seen[pair.maps].vmas[:1]] == [0]
    assert seen[pair.read].contents == ["pool:0", "pool:1", "SIGSEGV", "SIGSEGV"]


@pytest.mark.guarantee(59)
def test_a_mapping_without_a_plan_is_merged_too(stack: Prober) -> None:
    pair = Neighbours(HookPath.DIRECT, NOTHING)
    seen = pair.run(stack)
    assert len(seen[pair.maps].vmas) == 1
    assert seen[pair.read].contents == ["SIGBUS"] * 4
