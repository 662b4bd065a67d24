"""Open defects of the kernel (contract C2): each asserts what should be, and is known to fail."""

from __future__ import annotations

import pytest

from testbed.mmap.path import PREPARING, TOP, HookPath, hook_name, open_path
from testbed.mmap.plan import Action, Plan
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script

ROUNDS = 50
PAGES = 64


@pytest.mark.guarantee(31)
@pytest.mark.defect(
    "KD1", symptom=r"Shmem grew by \d+ kB after 50 mappings", recorded=("7.2", "7.3.4")
)
@pytest.mark.paths(HookPath.STACK)
def test_a_replaced_vm_file_is_released_with_its_mapping(stack: Prober, path: HookPath) -> None:
    """mm/vma.h compat_set_vma_from_desc() takes a second reference by vma_set_file()."""
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


@pytest.mark.guarantee(29)
def test_a_replaced_vm_file_is_released_on_the_direct_path(stack: Prober) -> None:
    script = Script()
    script.open("zero", "/dev/zero")
    before = script.step("meminfo")
    for _ in range(ROUNDS):
        script.map("m", "zero", pages=PAGES)
        script.write("m", 0x1)
        script.step("munmap", "m")
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
    """mm/vma.c call_mmap_prepare() returns before it knows of the replacement."""
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
