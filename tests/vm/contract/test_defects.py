# SPDX-License-Identifier: GPL-2.0
"""Open defects of the kernel (docs/findings.md). Each test asserts the right result, and fails."""

from __future__ import annotations

import pytest

from testbed.deadline import Deadline
from testbed.lab.guest import Guest
from testbed.mmap.observation import names, only
from testbed.mmap.path import PREPARING, TOP, HookPath, hook_name, open_path
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.probe import PROGRAM, Prober, path_script
from testbed.mmap.script import Script

ROUNDS = 50
PAGES = 64


@pytest.mark.guarantee(31)
@pytest.mark.defect(
    "KD1", symptom=r"Shmem grew by \d+ kB after 50 mappings", recorded=("7.2", "7.3.4")
)
@pytest.mark.paths(HookPath.STACK)
def test_a_replaced_vm_file_is_released_with_its_mapping(stack: Prober, path: HookPath) -> None:
    """mm/vma.h, compat_set_vma_from_desc() takes a second reference in vma_set_file()."""
    script = Script()
    script.open("zero", "/dev/zero")
    script.open("top", "/dev/mmap_stack")
    script.step("lower", "top", "zero")
    before = script.step("meminfo")
    for _ in range(ROUNDS):
        script.map("m", "top", pages=PAGES)
        script.write("m", 0x1)
        script.step("munmap", "m")
    script.step("close", "top")
    script.step("close", "zero")
    after = script.step("meminfo")
    seen = stack.run(script)
    grown = seen[after].values["fields"]["Shmem"] - seen[before].values["fields"]["Shmem"]
    assert grown < PAGES * 4, f"Shmem grew by {grown} kB after {ROUNDS} mappings"


@pytest.mark.guarantee(28, 30, 33)
@pytest.mark.defect(
    "KD12", symptom=r"the replacement has \d+ references, had \d+", recorded=("7.2", "7.3.4")
)
@pytest.mark.paths(*PREPARING)
def test_a_replaced_vm_file_is_released_when_the_action_is_refused(
    stack: Prober, path: HookPath
) -> None:
    """mm/vma.c, call_mmap_prepare() returns before it records the replacement."""
    plan = Plan(replace="file", action=Action.KERNEL_PAGES, action_offset="3p", action_size="2p")
    script = Script()
    script.step("memfd", "spare", "4p")
    open_path(script, path, plan, replacement="spare")
    before = script.step("counts", hook_name(path))
    made = script.map("m", TOP, pages=4)
    after = script.step("counts", hook_name(path))
    seen = stack.run(script)
    assert seen[made].error == "EFAULT"
    had, has = (seen[step].values["replacement"] for step in (before, after))
    assert has == had, f"the replacement has {has} references, had {had}"


@pytest.mark.guarantee(28, 30)
@pytest.mark.defect(
    "KD14", symptom=r"the replacement has \d+ references, had \d+", recorded=("7.2", "7.3.4")
)
def test_a_replacement_whose_own_mmap_fails_is_put_once(guest: Guest, stack: Prober) -> None:
    """mm/vma.c: __mmap_new_file_vma() puts the file, and __mmap_region() puts it again."""
    guest.give_up("the replacement's references are out of balance")
    script = Script()
    script.open("spare", "/dev/mmap_legacy")
    script.plan("spare", Plan(hook_error="-EIO"))
    open_path(script, HookPath.DIRECT, Plan(replace="file"), replacement="spare")
    # This mapping holds a reference, so the file survives the excess puts of the kernel.
    script.plan("spare", Plan(vm_ops=VmOps.NO_CLOSE))
    script.map("hold", "spare", pages=1)
    script.plan("spare", Plan(hook_error="-EIO"))
    before = script.step("counts", TOP)
    made = script.map("m", TOP)
    after = script.step("counts", TOP)
    seen = stack.run(script)
    assert seen[made].error == "EIO"
    had, has = (seen[step].values["replacement"] for step in (before, after))
    assert has == had, f"the replacement has {has} references, had {had}"


@pytest.mark.guarantee(5)
def test_a_replacements_own_mmap_runs_on_the_new_vma(stack: Prober) -> None:
    script = Script()
    script.step("clearlog")
    script.open("spare", "/dev/mmap_legacy")
    script.plan("spare", Plan(private=0x8))
    open_path(script, HookPath.DIRECT, Plan(vm_ops=VmOps.FULL, replace="file"), replacement="spare")
    made = script.map("m", TOP)
    log = script.hooklog()
    script.step("munmap", "m")
    seen = stack.run(script)
    assert seen[made].errno == 0
    assert names(seen[log].events) == ["prepare", "prepare_done", "mmap", "mmap_done", "mapped"]
    assert only(seen[log].events, "mmap").node("node") == "mmap_legacy"


@pytest.mark.guarantee(45)
@pytest.mark.module("mmap_ring")
@pytest.mark.defect(
    "KD5",
    symptom=r"mmap waits for ever in \w+",
    recorded=("7.2", "7.3.4"),
)
def test_a_custom_hook_can_hide_its_mapping(guest: Guest, stack: Prober) -> None:
    """mm/util.c, __compat_vma_mmap() leaves hide_from_rmap_until_complete set.

    mmap_action_complete() then releases an rmap lock that nobody has taken.
    """
    guest.give_up("a process waits for a lock that was never taken")
    script = path_script(HookPath.CUSTOM, Plan(vm_ops=VmOps.FULL, hide=1))
    script.map("m", TOP)
    command = ["sh", "-c", WATCH, "watch", script.text]
    found = guest.session.check(command, deadline=Deadline.after(600)).out.split()
    assert found[0] == "ended", f"mmap waits for ever in {found[1]}"


# Prints the wait channel of a process that three consecutive polls find in state D.
WATCH = f"""
printf %s "$1" >/tmp/script
{PROGRAM} </tmp/script >/dev/null 2>&1 &
looks=0
for try in $(seq 300); do
    state=$(sed -n 's/^State:[[:space:]]*//p' /proc/$!/status 2>/dev/null)
    case $state in
    D*) looks=$((looks + 1)) ;;
    ''|Z*) echo ended; exit ;;
    *) looks=0 ;;
    esac
    [ $looks = 3 ] && {{ echo waits $(cat /proc/$!/wchan); exit; }}
    sleep 0.1
done
echo waits nowhere
"""


@pytest.mark.guarantee(49)
@pytest.mark.defect("KD9", symptom=r"mapped\(\) was given mmap_\w+", recorded=("7.2", "7.3.4"))
@pytest.mark.paths(HookPath.STACK, HookPath.STACK_AFTER, HookPath.THREE_LEVEL)
def test_mapped_is_given_the_file_of_its_hook(stack: Prober, path: HookPath) -> None:
    """mm/util.c, call_vma_mapped() passes vma->vm_file, which is the outer file."""
    given = only(stack.map(path, Plan(vm_ops=VmOps.FULL)).events, "mapped").node("file")
    assert given == path.shape.nodes[-1], f"mapped() was given {given}"


@pytest.mark.guarantee(52)
@pytest.mark.paths(HookPath.LEGACY)
def test_mapped_of_a_plain_mmap_hook_is_never_called(stack: Prober, path: HookPath) -> None:
    """KD10: include/linux/mm.h documents this as an error, but no code checks for it."""
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL))
    assert mapped.made.errno == 0
    assert "mapped" not in names(mapped.events)


@pytest.mark.guarantee(21)
@pytest.mark.defect(
    "KD11", symptom="page 4 behind the mapping shows pool:4", recorded=("7.2", "7.3.4")
)
@pytest.mark.paths(HookPath.DIRECT, HookPath.STACK)
def test_a_widened_descriptor_maps_nothing_behind_the_vma(
    guest: Guest, stack: Prober, path: HookPath
) -> None:
    """mm/memory.c, remap_pfn_range_prepare() trusts the descriptor, which the hook may change."""
    guest.give_up("there are page table entries outside of any VMA")
    script = path_script(path, Plan(widen_end="1p", action=Action.REMAP))
    script.map("room", "anon", pages=8, prot="none", flags="private")
    script.map("m", TOP, pages=4, flags="shared,fixed", addr="room")
    behind = script.read("room", "4")
    (content,) = stack.run(script)[behind].contents
    assert content == "SIGSEGV", f"page 4 behind the mapping shows {content}"
