# SPDX-License-Identifier: GPL-2.0
"""Fixed bugs of the layer: a short trigger of each.

| bug | fix | test |
|---|---|---|
| R1 | bb666b7c2707 | here |
| R2 | f7a741c53b71 | here |
| R3 | vma_flags conversion, January 2026 | here |
| R4 | 605f6586ecf7 | here |
| R5 | 894f99eb535e | `test_allocation_failure.py`: an allocation must fail after the hook |
| R6 | f96e1d5f15b7 | here |
| R7 | 5e3b3df43290 | here |
| R8 | 619eab23e1ce | here |
| R9 | 5a4831bffcb8, d493d1254a46 | here, on a hook that counts like afs, which needs a server |
| R10 | 0a3c1b9157cf | here |
| R11 | 976d5e0ddac8 | here |
| R12 | Linux 7.2.8, uncharge after a failed hook | here |
| R13 | Linux 7.3.4, uncharge replaced mappings | here |
| R14 | 3dd6ed34ce1f | here |
| R15 | vm_ops default to the dummy | here |
| R16 | Linux 7.3.4, `mmap_zero_prepare()` looks at VM_MAYSHARE | `test_devices.py` |
| R17 | Linux 7.3.4, `backing_file_mmap()` looks at the backing inode | `test_stack_promises.py` |
"""

from __future__ import annotations

import pytest

from testbed.guest.splat_patterns import SplatKind
from testbed.lab.guest import Guest
from testbed.mmap.observation import named, names, only
from testbed.mmap.path import PREPARING, STACKS, TOP, HookPath, hook_name
from testbed.mmap.plan import NOTHING, VM_MAYWRITE, Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

FULL = Plan(vm_ops=VmOps.FULL)
COMPAT = tuple(path for path in HookPath if path.shape.compat)

# The accounts of these mappings stand out against other changes: 16 of them have at least 4 MiB.
PAGES = 64
ROUNDS = 16


@pytest.mark.guarantee(1, 4)
@pytest.mark.paths(*COMPAT)
def test_r1_a_file_with_only_mmap_prepare_is_mapped_below_mmap(
    stack: Prober, path: HookPath
) -> None:
    """Commit bb666b7c2707 "mm: add mmap_prepare() compatibility layer for nested file systems"."""
    mapped = stack.map(path, FULL)
    assert mapped.made.error == ""
    assert names(mapped.events).count("prepare") == 1
    assert mapped.read.contents == ["pool:0", "pool:1", "pool:2", "pool:3"]


@pytest.mark.guarantee(10, 11)
@pytest.mark.paths(HookPath.STACK, HookPath.THREE_LEVEL, HookPath.STACK_AFTER)
def test_r2_the_hook_below_is_told_of_its_own_file(stack: Prober, path: HookPath) -> None:
    """The hook gets its own file, not the VMA's.

    Commit f7a741c53b71 "mm: do not assume file == vma->vm_file in compat_vma_mmap_prepare()".
    """
    entry = stack.map(path, FULL).descriptor
    assert entry.node("file") == "mmap_direct"
    assert entry.node("vm_file") == path.shape.nodes[0]


@pytest.mark.guarantee(19)
@pytest.mark.paths(*PREPARING)
def test_r3_a_flag_that_the_hook_clears_stays_cleared(stack: Prober, path: HookPath) -> None:
    """The conversion to vma_flags_t replaced the layer's vm_flags_set() by an assignment."""
    script = path_script(path, Plan(vm_ops=VmOps.FULL, clear_flags=VM_MAYWRITE))
    script.map("m", TOP, prot="r")
    protect = script.step("mprotect", "m", prot="rw")
    maps = script.maps("m")
    seen = stack.run(script)
    assert seen[protect].error == "EACCES"
    assert "mw" not in seen[maps].vma.vmflags


@pytest.mark.guarantee(29)
def test_r4_shared_memory_of_dev_zero_goes_with_its_mapping(stack: Prober) -> None:
    """Commit 605f6586ecf7 "mm/vma: do not leak memory when .mmap_prepare swaps the file"."""
    script = Script()
    script.open("zero", "/dev/zero")
    before = script.step("meminfo")
    for _ in range(ROUNDS):
        script.map("m", "zero", pages=PAGES)
        script.write("m", 0x4, "0")
        script.step("munmap", "m")
    after = script.step("meminfo")
    seen = stack.run(script)
    for key in ("Shmem", "Committed_AS"):
        had, has = (seen[step].values["fields"][key] for step in (before, after))
        assert has == had, f"{key} was {had} kB, is {has} kB after {ROUNDS} mappings"


@pytest.mark.guarantee(45, 51)
def test_r6_a_mapping_that_is_hidden_and_fails_is_undone(stack: Prober) -> None:
    """Commit f96e1d5f15b7 "mm: avoid deadlock when holding rmap on mmap_prepare error"."""
    script = path_script(HookPath.DIRECT, Plan(vm_ops=VmOps.FULL, hide=1, mapped_error="-EBUSY"))
    failed = script.map("m", TOP)
    script.plan(TOP, FULL)
    made = script.map("n", TOP)
    script.step("munmap", "n")
    seen = stack.run(script)
    assert (seen[failed].error, seen[made].error) == ("EBUSY", "")


@pytest.mark.guarantee(45)
@pytest.mark.paths(*STACKS)
def test_r7_the_layer_unlocks_no_rmap_that_it_has_not_locked(stack: Prober, path: HookPath) -> None:
    """Commit 5e3b3df43290 "mm: switch the rmap lock held option off in compat layer"."""
    script = path_script(path, Plan(vm_ops=VmOps.FULL, hide=1))
    # Linking and unlinking take the lock. With an unbalanced lock, the second mapping hangs.
    made = []
    for name in ("m", "n"):
        made.append(script.map(name, TOP))
        script.step("munmap", name)
    seen = stack.run(script)
    assert [seen[step].error for step in made] == ["", ""]


@pytest.mark.guarantee(50, 51)
@pytest.mark.paths(*COMPAT)
@pytest.mark.parametrize("action", [Action.NONE, Action.REMAP, Action.KERNEL_PAGES])
def test_r8_a_detached_vma_is_not_unmapped(stack: Prober, path: HookPath, action: Action) -> None:
    """The layer called do_munmap() for a VMA that was not in the tree yet (CVE-2026-53373).

    Commit 619eab23e1ce "mm/vma: do not try to unmap a VMA if mmap_prepare() invoked from mmap()".
    """
    script = path_script(path)
    script.map("room", "anon", pages=6, flags="private")
    script.write("room", 0x8)
    script.plan(hook_name(path), Plan(vm_ops=VmOps.FULL, action=action, mapped_error="-EBUSY"))
    failed = script.map("m", TOP, pages=2, flags="shared,fixed", addr="room+2p")
    script.plan(hook_name(path), FULL)
    again = script.map("m", TOP, pages=2, flags="shared,fixed", addr="room+2p")
    read = script.read("room")
    seen = stack.run(script)
    assert (seen[failed].error, seen[again].error) == ("EBUSY", "")
    kept = ["fill:0x8", "fill:0x8"]
    assert seen[read].contents == [*kept, "pool:0", "pool:1", *kept]


@pytest.mark.guarantee(48, 53, 59)
def test_r9_what_mapped_counts_close_gives_back(stack: Prober) -> None:
    """A hook also runs for mappings that are merged or fail, so it must not count them.

    Commits 5a4831bffcb8 "fs: afs: revert mmap_prepare() change" and d493d1254a46 "fs: afs:
    restore mmap_prepare implementation".
    """
    script = path_script(HookPath.DIRECT, FULL)
    script.map("room", "anon", pages=6, prot="none", flags="private")
    for page in (0, 2):
        script.map("m", TOP, pages=2, offset=page, flags="shared,fixed", addr=f"room+{page}p")
    script.plan(TOP, Plan(vm_ops=VmOps.FULL, hook_error_after="-EIO"))
    script.map("n", TOP, pages=2)
    script.step("munmap", "room")
    log = script.hooklog()
    order = names(stack.run(script)[log].events)
    assert order.count("prepare") == 3
    assert (order.count("mapped"), order.count("close")) == (1, 1)


# Not PREPARE_FIRST, where KD12 leaks the file below.
@pytest.mark.guarantee(35)
@pytest.mark.paths(*(path for path in PREPARING if path is not HookPath.PREPARE_FIRST))
@pytest.mark.parametrize("action", [Action.REMAP, Action.IOREMAP])
def test_r10_nothing_is_remapped_behind_the_mapping(
    guest: Guest, stack: Prober, path: HookPath, action: Action
) -> None:
    """Commit 0a3c1b9157cf "mm: on remap assert that input range within the proposed VMA"."""
    script = path_script(path, Plan(action=action, action_offset="1p", action_size="2p"))
    script.map("room", "anon", pages=4, flags="private")
    script.write("room", 0x10)
    made = script.map("m", TOP, pages=2, flags="shared,fixed", addr="room+1p")
    read = script.read("room")
    with guest.expect_splat(SplatKind.WARNING):
        seen = stack.run(script)
    assert seen[made].error == "EFAULT"
    assert seen[read].contents == ["fill:0x10", "SIGSEGV", "SIGSEGV", "fill:0x10"]


@pytest.mark.guarantee(59)
@pytest.mark.parametrize("second", [NOTHING, Plan(vm_ops=VmOps.NO_CLOSE, private=0x2)], ids=str)
def test_r11_a_merged_vma_keeps_its_operations(stack: Prober, second: Plan) -> None:
    """vm_ops and private data are set only on a new VMA.

    Commit 976d5e0ddac8 "mm/vma: predicate setting mmap_prepare VMA fields on new vma alloc".
    """
    script = path_script(HookPath.DIRECT, Plan(vm_ops=VmOps.FULL, private=0x1))
    script.map("room", "anon", pages=6, prot="none", flags="private")
    script.map("m", TOP, pages=2, flags="shared,fixed", addr="room")
    script.plan(TOP, second)
    script.map("n", TOP, pages=2, offset=2, flags="shared,fixed", addr="room+2p")
    vma, read = script.step("vma", "n"), script.read("n")
    script.step("munmap", "room", "0-3")
    log = script.hooklog()
    seen = stack.run(script)
    assert (seen[vma].values["vm_ops"], seen[vma].values["private"]) == ("full", "0x1")
    assert seen[read].contents == ["pool:2", "pool:3"]
    assert only(seen[log].events, "close").values["private"] == "0x1"
    assert len(list(named(seen[log].events, "mapped"))) == 1


@pytest.mark.guarantee(28, 54)
def test_r12_a_failed_hook_leaves_no_commit_charge(stack: Prober, path: HookPath) -> None:
    """Linux 7.2.8, "mm/vma: correctly unaccount on mmap_prepare() failure"."""
    script = path_script(path, Plan(hook_error="-EIO"))
    before = script.step("meminfo")
    for _ in range(ROUNDS):
        script.map("m", TOP, pages=PAGES, flags="private")
    after = script.step("meminfo")
    assert _charge_kept(stack, script, before, after) == 0, (
        "failed mappings leave a charge in Committed_AS"
    )


@pytest.mark.guarantee(55, 56)
@pytest.mark.defect(
    "R13", symptom=r"\d+ kB of Committed_AS stay", recorded=("7.2", "7.2.13"), fixed="7.3.4"
)
def test_r13_a_failed_mapping_gives_back_the_charge_of_what_it_replaced(
    stack: Prober, path: HookPath
) -> None:
    """Linux 7.3.4, "mm/vma: don't leak the commit charge on mmap failure"."""
    script = path_script(path, Plan(hook_error="-EIO"))
    before = script.step("meminfo")
    for _ in range(ROUNDS):
        script.map("old", "anon", pages=PAGES, flags="private")
        script.map("m", TOP, pages=PAGES, flags="private,fixed", addr="old")
    after = script.step("meminfo")
    kept = _charge_kept(stack, script, before, after)
    assert kept == 0, f"{kept} kB of Committed_AS stay after {ROUNDS} mappings that failed"


@pytest.mark.guarantee(54)
def test_r14_the_vma_of_a_failed_hook_is_not_closed(stack: Prober, path: HookPath) -> None:
    """Commit 3dd6ed34ce1f "mm: avoid unsafe VMA hook invocation when error arises on mmap hook"."""
    script = path_script(path, Plan(vm_ops=VmOps.FULL, hook_error_after="-EIO"))
    made = script.map("m", TOP)
    log = script.hooklog()
    seen = stack.run(script)
    assert seen[made].error == "EIO"
    assert "close" not in names(seen[log].events)


@pytest.mark.guarantee(15)
@pytest.mark.parametrize("flags", ["shared", "private"])
def test_r15_a_hook_that_sets_no_operations_makes_no_anonymous_memory(
    stack: Prober, path: HookPath, flags: str
) -> None:
    """vm_ops default to vma_dummy_vm_ops; before the fix they defaulted to NULL."""
    mapped = stack.map(path, NOTHING, flags=flags, pages=2)
    assert mapped.made.error == ""
    assert mapped.read.results == ["SIGBUS", "SIGBUS"]


def _charge_kept(stack: Prober, script: Script, before: int, after: int) -> int:
    """Return the growth of Committed_AS between two steps, in kB."""
    seen = stack.run(script)
    had, has = (int(seen[step].values["fields"]["Committed_AS"]) for step in (before, after))
    return has - had
