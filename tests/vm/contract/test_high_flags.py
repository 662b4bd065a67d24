# SPDX-License-Identifier: GPL-2.0
"""VMA flags above bit 31, and VMA flags of only one architecture (guarantee 75)."""

from __future__ import annotations

import pytest

from testbed.intree.stacks import FILE_STACKS, set_up
from testbed.lab.guest import Guest
from testbed.mmap.path import PREPARING, TOP, HookPath, hook_name, stack_over
from testbed.mmap.plan import VM_MTE_ALLOWED, VM_PKEY_SHIFT, Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

# arch/x86/include/asm/pkeys.h, arch_max_pkey()
PKEYS = 16

(OVERLAY,) = (stack for stack in FILE_STACKS if stack.name == "overlay-tmpfs")


def need(guest: Guest, feature: str) -> None:
    """Skip if the processor lacks a feature: one that KVM passes on may be older than TCG's."""
    if feature not in guest.session.get("/proc/cpuinfo").decode().split():
        pytest.skip(f"the CPU lacks {feature}")


@pytest.fixture
def protection_keys(guest: Guest) -> None:
    need(guest, "ospke")


@pytest.fixture
def guarded_branches(guest: Guest) -> None:
    need(guest, "bti")


@pytest.fixture
def memory_tags(guest: Guest) -> None:
    need(guest, "mte")


@pytest.mark.arches("x86_64")
@pytest.mark.kconfig("X86_INTEL_MEMORY_PROTECTION_KEYS")
@pytest.mark.usefixtures("protection_keys")
@pytest.mark.guarantee(13, 19, 75)
@pytest.mark.parametrize("flags", ["shared", "private"])
def test_memory_that_is_only_executed_has_a_key(stack: Prober, path: HookPath, flags: str) -> None:
    """arch/x86/mm/pkeys.c, __execute_only_pkey() chooses the key."""
    mapped = stack.map(path, Plan(vm_ops=VmOps.FULL), prot="x", flags=flags)
    key = mapped.vma.smaps["ProtectionKey"]
    assert key != 0
    assert mapped.read.values["pages"][0]["code"] == "SEGV_PKUERR"
    if path in PREPARING:
        assert mapped.descriptor.number("flags") >> VM_PKEY_SHIFT & (PKEYS - 1) == key


@pytest.mark.arches("x86_64")
@pytest.mark.kconfig("X86_INTEL_MEMORY_PROTECTION_KEYS")
@pytest.mark.usefixtures("protection_keys")
@pytest.mark.guarantee(19, 75)
def test_a_hook_sets_and_clears_bits_of_the_key(stack: Prober, path: HookPath) -> None:
    plan = Plan(
        vm_ops=VmOps.FULL,
        set_flags=10 << VM_PKEY_SHIFT,
        clear_flags=(PKEYS - 1) << VM_PKEY_SHIFT,
    )
    assert stack.map(path, plan).vma.smaps["ProtectionKey"] == 10
    assert stack.map(path, plan, prot="x").vma.smaps["ProtectionKey"] == 10


@pytest.mark.arches("arm64")
@pytest.mark.kconfig("ARM64_BTI")
@pytest.mark.usefixtures("guarded_branches")
@pytest.mark.guarantee(13, 19, 75)
@pytest.mark.parametrize("flags", ["shared", "private"])
def test_guarded_branches_show(stack: Prober, path: HookPath, flags: str) -> None:
    for prot, shown in (("rb", True), ("r", False)):
        vma = stack.map(path, Plan(vm_ops=VmOps.FULL), prot=prot, flags=flags).vma
        assert ("bt" in vma.vmflags) is shown


@pytest.mark.arches("arm64")
@pytest.mark.kconfig("ARM64_MTE")
@pytest.mark.usefixtures("memory_tags")
@pytest.mark.guarantee(7, 75)
def test_tags_are_refused_before_the_hook_runs(stack: Prober, path: HookPath) -> None:
    """Device memory may lack tags (arch/arm64/include/asm/mman.h, arch_validate_flags())."""
    script = path_script(path, Plan(vm_ops=VmOps.FULL))
    made = script.map("m", TOP, prot="rwm")
    log = script.hooklog()
    seen = stack.run(script)
    assert seen[made].error == "EINVAL"
    assert seen[log].events == []


@pytest.mark.arches("arm64")
@pytest.mark.kconfig("ARM64_MTE")
@pytest.mark.usefixtures("memory_tags")
@pytest.mark.guarantee(19, 75)
def test_a_hook_allows_tags(stack: Prober, path: HookPath) -> None:
    """VM_MTE_ALLOWED is above bit 31. If the layer lost it, mprotect() would fail."""
    script = path_script(path)
    results = {}
    for allowed, plan in (
        (True, Plan(vm_ops=VmOps.FULL, set_flags=VM_MTE_ALLOWED)),
        (False, Plan(vm_ops=VmOps.FULL)),
    ):
        script.plan(hook_name(path), plan)
        script.map("m", TOP)
        results[allowed] = script.step("mprotect", "m", prot="rwm"), script.maps("m")
    seen = stack.run(script)
    assert [seen[results[allowed][0]].error for allowed in (True, False)] == ["", "EINVAL"]
    assert ["mt" in seen[results[allowed][1]].vma.vmflags for allowed in (True, False)] == [
        True,
        False,
    ]


@pytest.mark.arches("arm64")
@pytest.mark.kconfig("ARM64_MTE")
@pytest.mark.usefixtures("memory_tags")
@pytest.mark.reaches("mm/shmem.c:shmem_file_operations")
@pytest.mark.guarantee(75)
@pytest.mark.paths(HookPath.DIRECT, HookPath.STACK_FIRST, HookPath.STACK_AFTER)
def test_tags_of_shared_memory_are_up_to_the_file_on_top(stack: Prober, path: HookPath) -> None:
    script = Script()
    script.step("clearlog")
    script.step("memfd", "low", "4p")
    made = script.map("m", stack_over(script, path, "low"), prot="rwm")
    log = script.hooklog()
    maps = script.maps("m")
    write = script.write("m", 0x42)
    seen = stack.run(script)
    if path is not HookPath.DIRECT:
        assert seen[made].error == "EINVAL"
        assert seen[log].events == []
        return
    assert seen[made].error == ""
    assert "mt" in seen[maps].vma.vmflags
    assert seen[write].results == ["ok"] * 4


@pytest.mark.arches("arm64")
@pytest.mark.kconfig("ARM64_MTE", *OVERLAY.symbols)
@pytest.mark.usefixtures("memory_tags")
@pytest.mark.guarantee(75)
def test_an_overlay_has_no_tags_although_the_file_below_has(guest: Guest) -> None:
    set_up(guest, OVERLAY)
    script = Script()
    script.open("above", OVERLAY.above)
    script.open("below", OVERLAY.below)
    above = script.map("m", "above", prot="rwm")
    below = script.map("n", "below", prot="rwm")
    maps = script.maps("n")
    seen = guest.prober.run(script)
    assert (seen[above].error, seen[below].error) == ("EINVAL", "")
    assert "mt" in seen[maps].vma.vmflags
