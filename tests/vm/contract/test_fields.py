# SPDX-License-Identifier: GPL-2.0
"""The fields that a hook sets in its descriptor, and the effect of each."""

from __future__ import annotations

import pytest

from testbed.mmap.observation import named
from testbed.mmap.path import PREPARING, STACKS, TOP, HookPath, hook_name, open_path
from testbed.mmap.plan import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_MAYWRITE,
    VM_RAND_READ,
    VM_SEQ_READ,
    VM_WIPEONFORK,
    Action,
    Plan,
    VmOps,
)
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

# The abbreviations of smaps (proc_pid_smaps(5)).
FLAGS = {
    "dc": VM_DONTCOPY,
    "de": VM_DONTEXPAND,
    "dd": VM_DONTDUMP,
    "sr": VM_SEQ_READ,
    "rr": VM_RAND_READ,
}


@pytest.mark.guarantee(18)
def test_pgoff_moves_the_mapping(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL, pgoff=20), offset=1, pages=2)
    assert mapped.vma.offset * 2 == 20 * mapped.vma.size
    assert mapped.read.contents == ["pool:20", "pool:21"]


@pytest.mark.guarantee(19)
def test_a_flag_that_is_set_shows(stack: Prober, path: HookPath) -> None:
    script = path_script(path)
    shown = {}
    for letters, bit in FLAGS.items():
        script.plan(hook_name(path), Plan(vm_ops=VmOps.FULL, set_flags=bit))
        script.map("m", TOP)
        shown[letters] = script.maps("m")
    seen = stack.run(script)
    for letters, maps in shown.items():
        assert seen[maps].vma.vmflags & FLAGS.keys() == {letters}


@pytest.mark.guarantee(19)
def test_a_flag_that_is_cleared_is_gone(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL, clear_flags=VM_MAYWRITE), prot="r")
    assert "mw" not in mapped.vma.vmflags


@pytest.mark.guarantee(19)
def test_without_maywrite_the_mapping_cannot_become_writable(stack: Prober, path: HookPath) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.FULL, clear_flags=VM_MAYWRITE))
    script.map("m", TOP, prot="r")
    protect = script.step("mprotect", "m", prot="rw")
    assert stack.run(script)[protect].error == "EACCES"


@pytest.mark.guarantee(19, 67)
def test_a_dontcopy_mapping_is_absent_in_the_child(stack: Prober, path: HookPath) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTCOPY))
    parent = script.map("m", TOP)
    with script.fork():
        child = script.maps("m")
    seen = stack.run(script)
    assert (seen[parent].error, seen[child].vmas) == ("", [])


@pytest.mark.guarantee(19, 66)
def test_a_dontexpand_mapping_cannot_grow(stack: Prober, path: HookPath) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTEXPAND))
    script.map("m", TOP, pages=1)
    grown = script.step("mremap", "m", len="2p", flags="maymove")
    assert stack.run(script)[grown].error == "EFAULT"


@pytest.mark.guarantee(15)
def test_vm_ops_that_a_hook_leaves_give_sigbus_and_never_zero_pages(
    stack: Prober, path: HookPath
) -> None:
    assert stack.map(path, pages=2).read.contents == ["SIGBUS", "SIGBUS"]


@pytest.mark.guarantee(23)
def test_null_vm_ops_make_the_mapping_anonymous(stack: Prober, path: HookPath) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.NULL))
    script.map("m", TOP, pages=2, offset=3, flags="private")
    before = script.read("m")
    script.write("m", 0xA5)
    after = script.read("m")
    maps = script.maps("m")
    seen = stack.run(script)
    assert seen[before].contents == ["zero", "zero"]
    assert seen[after].contents == ["fill:0xa5", "fill:0xa5"]
    vma = seen[maps].vma
    assert vma.smaps["Anonymous"] * 1024 == vma.size
    assert vma.offset * 2 == 3 * vma.size
    assert vma.path == f"/dev/{path.shape.final_vm_file}"


@pytest.mark.guarantee(24)
def test_private_data_reaches_every_operation(stack: Prober, path: HookPath) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.FULL, private=0x1234))
    script.map("m", TOP)
    script.read("m", "0")
    script.step("munmap", "m")
    log = script.hooklog()
    events = stack.run(script)[log].events
    for name in ("fault", "close"):
        assert [event.values["private"] for event in named(events, name)] == ["0x1234"]


@pytest.mark.guarantee(24, 49)
@pytest.mark.paths(*PREPARING)
def test_private_data_reaches_mapped(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL, private=0x1234))
    assert [event.values["private"] for event in named(mapped.events, "mapped")] == ["0x1234"]


@pytest.mark.guarantee(21)
@pytest.mark.paths(*PREPARING)
def test_a_shrunk_descriptor_does_not_move_the_vma(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL, shrink_end="1p"), pages=4)
    entry = mapped.descriptor
    assert (mapped.vma.start, mapped.vma.end) == (entry.number("start"), entry.number("end"))


@pytest.mark.guarantee(13, 19)
@pytest.mark.paths(*STACKS)
def test_flags_of_the_outer_hook_are_seen_and_kept(stack: Prober, path: HookPath) -> None:
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL), outer=Plan(set_flags=VM_DONTCOPY))
    assert mapped.descriptor.number("flags") & VM_DONTCOPY
    assert "dc" in mapped.vma.vmflags


@pytest.mark.guarantee(19)
@pytest.mark.paths(*STACKS)
def test_a_flag_of_the_outer_hook_can_be_cleared_below(stack: Prober, path: HookPath) -> None:
    plan = Plan(vm_ops=VmOps.FULL, clear_flags=VM_DONTCOPY)
    mapped = stack.map(path, plan, outer=Plan(set_flags=VM_DONTCOPY))
    assert "dc" not in mapped.vma.vmflags


@pytest.mark.guarantee(19, 67)
def test_a_private_mapping_can_be_wiped_on_fork(stack: Prober, path: HookPath) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.NULL, set_flags=VM_WIPEONFORK))
    script.map("m", TOP, pages=1, flags="private")
    script.write("m", 0xBEEF)
    with script.fork():
        child = script.read("m")
    parent = script.read("m")
    seen = stack.run(script)
    assert (seen[child].contents, seen[parent].contents) == (["zero"], ["fill:0xbeef"])


@pytest.mark.guarantee(22)
def test_page_prot_is_that_of_the_direct_path(stack: Prober, path: HookPath) -> None:
    plain, noncached = Plan(vm_ops=VmOps.FULL), Plan(vm_ops=VmOps.FULL, page_prot="noncached")
    script = path_script(path, noncached)
    script.open("other", "/dev/mmap_direct")
    shown = []
    for file, plan in ((TOP, noncached), ("other", noncached), ("other", plain)):
        if file == "other":
            script.plan(file, plan)
        script.map("m", file, pages=1)
        shown.append(script.step("vma", "m"))
    seen = stack.run(script)
    mapped, direct, cached = (seen[step].values["page_prot"] for step in shown)
    assert mapped == direct
    assert mapped != cached


@pytest.mark.guarantee(14, 22)
@pytest.mark.paths(*STACKS)
def test_the_page_prot_of_the_outer_hook_stays(stack: Prober, path: HookPath) -> None:
    noncached = Plan(vm_ops=VmOps.FULL, page_prot="noncached")
    script = path_script(path, Plan(vm_ops=VmOps.FULL), outer=Plan(page_prot="noncached"))
    script.open("other", "/dev/mmap_direct")
    script.plan("other", noncached)
    script.map("m", TOP, pages=1)
    script.map("n", "other", pages=1)
    stacked, direct = script.step("vma", "m"), script.step("vma", "n")
    seen = stack.run(script)
    assert seen[stacked].values["page_prot"] == seen[direct].values["page_prot"]


@pytest.mark.guarantee(13, 19)
@pytest.mark.kconfig("MEM_SOFT_DIRTY")
def test_a_new_mapping_is_soft_dirty(stack: Prober, path: HookPath) -> None:
    assert "sd" in stack.map(path, Plan(vm_ops=VmOps.FULL)).vma.vmflags


# Not STACK_AFTER: that stack sets vm_file after the hook and overwrites the replacement.
@pytest.mark.guarantee(25, 29)
@pytest.mark.paths(*(path for path in PREPARING if path is not HookPath.STACK_AFTER))
def test_a_replaced_vm_file_is_the_mappings(stack: Prober, path: HookPath) -> None:
    script = Script()
    script.step("memfd", "spare", "4p")
    open_path(script, path, Plan(vm_ops=VmOps.FULL, replace="file"), replacement="spare")
    made = script.map("m", TOP, pages=2)
    maps, read = script.maps("m"), script.read("m")
    seen = stack.run(script)
    assert seen[made].errno == 0
    assert seen[maps].vma.path.startswith("/memfd:spare")
    assert seen[read].contents == ["pool:0", "pool:1"]


@pytest.mark.guarantee(22, 23)
def test_a_page_that_was_read_is_announced_before_it_is_written(
    stack: Prober, path: HookPath
) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.MKWRITE))
    script.map("m", TOP, pages=2)
    script.read("m")
    assert _announced(stack, script, hook_name(path)) == [0, 1]


@pytest.mark.guarantee(22, 41)
@pytest.mark.paths(HookPath.DIRECT)
def test_a_page_that_an_action_inserted_is_announced_before_it_is_written(
    stack: Prober, path: HookPath
) -> None:
    """The page is inserted with the VMA's page_prot, which lacks write access."""
    script = path_script(path, Plan(vm_ops=VmOps.MKWRITE, action=Action.KERNEL_PAGES))
    script.map("m", TOP, pages=2)
    assert _announced(stack, script, hook_name(path)) == [0, 1]


def _announced(stack: Prober, script: Script, hook: str) -> list[int]:
    """Write all pages of `m`. Return the pages for which page_mkwrite() was called."""
    script.step("clearlog")
    script.write("m", 0x5)
    log = script.hooklog()
    script.step("reset", hook)
    events = named(stack.run(script)[log].events, "mkwrite")
    return [event.number("at") for event in events]


@pytest.mark.guarantee(32)
@pytest.mark.paths(*(path for path in PREPARING if path is not HookPath.STACK_AFTER))
def test_a_replacement_counts_as_writable_while_it_is_mapped(stack: Prober, path: HookPath) -> None:
    script = Script()
    script.step("memfd", "spare", "4p")
    open_path(script, path, Plan(vm_ops=VmOps.FULL, replace="file"), replacement="spare")
    script.map("m", TOP, pages=2)
    mapped = script.step("seal", "spare", "write")
    script.step("munmap", "m")
    unmapped = script.step("seal", "spare", "write")
    seen = stack.run(script)
    assert (seen[mapped].error, seen[unmapped].error) == ("EBUSY", "")


@pytest.mark.guarantee(32)
@pytest.mark.paths(*(path for path in PREPARING if path is not HookPath.STACK_AFTER))
@pytest.mark.parametrize(
    "plan",
    [
        Plan(vm_ops=VmOps.FULL, replace="file", hook_error_after="-EIO"),
        Plan(vm_ops=VmOps.NO_CLOSE, replace="file", mapped_error="-EIO"),
    ],
    ids=["hook-fails", "mapped-fails"],
)
def test_a_failed_mapping_leaves_its_replacement_to_be_sealed(
    stack: Prober, path: HookPath, plan: Plan
) -> None:
    script = Script()
    script.step("memfd", "spare", "4p")
    open_path(script, path, plan, replacement="spare")
    made = script.map("m", TOP, pages=2)
    sealed = script.step("seal", "spare", "write")
    seen = stack.run(script)
    assert (seen[made].error, seen[sealed].error) == ("EIO", "")
