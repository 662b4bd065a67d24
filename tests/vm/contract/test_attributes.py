# SPDX-License-Identifier: GPL-2.0
"""Caching attributes of a mapped PCI BAR: on each path, and compared with its file in sysfs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.arch import find_arch
from testbed.intree.bar import Bar, find_bar, find_ram
from testbed.intree.intreefile import INTREE_FILES, LOW, InTreeFile, set_up
from testbed.lab.guest import Guest
from testbed.mmap.observation import names
from testbed.mmap.oracle import canonical_vma, without_may_exec
from testbed.mmap.path import PREPARING, TOP, HookPath, hook_name, open_path, stack_over
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

PAT_LIST = "/sys/kernel/debug/x86/pat_memtype_list"

REMAPS = (Action.REMAP, Action.IOREMAP, Action.SIMPLE_IOREMAP)


@dataclass(frozen=True)
class Caching:
    """The encoding of caching attributes in a page table entry."""

    mask: int
    plain: int  # ordinary memory
    noncached: int
    writecombine: int
    device: int  # pgprot_device(), as in a mapping of a BAR's file in sysfs


CACHING = {
    # PWT, PCD and PAT index the PAT (arch/x86/mm/pat/memtype.c, pat_bp_init()).
    "x86_64": Caching(mask=0x98, plain=0, noncached=0x10, writecombine=0x08, device=0x10),
    # AttrIndx indexes MAIR_EL1 (arch/arm64/include/asm/memory.h, MT_*).
    "arm64": Caching(mask=7 << 2, plain=0, noncached=3 << 2, writecombine=2 << 2, device=4 << 2),
}


Bars = dict[Path, Bar]


@pytest.fixture(scope="session")
def bars() -> Bars:
    """The BARs found so far, by log directory of the VM: the device stays enabled."""
    return {}


@pytest.fixture
def bar(guest: Guest, bars: Bars) -> Bar:
    key = guest.vm.spec.log_dir
    if key not in bars:
        bars[key] = find_bar(guest)
    return bars[key]


@pytest.fixture
def pfn(guest: Guest, bar: Bar) -> int:
    return bar.pfn(guest.session.hello().page_size)


@pytest.mark.guarantee(22, 34, 39, 40)
@pytest.mark.parametrize("action", REMAPS, ids=str)
@pytest.mark.parametrize("page_prot", ["noncached", "writecombine"])
def test_a_bar_is_cached_as_the_hook_says(
    stack: Prober, guest: Guest, path: HookPath, pfn: int, action: Action, page_prot: str
) -> None:
    script = path_script(path, Plan(action=action, pfn=pfn, page_prot=page_prot))
    made = script.map("m", TOP)
    ptes = script.step("ptes", "m")
    script.write("m", 0x5A)
    read = script.read("m")
    seen = stack.run(script)
    caching = CACHING[guest.prepared.arch.name]
    assert seen[made].error == ""
    for page, entry in enumerate(seen[ptes].values["pages"]):
        assert int(entry["pte_pfn"], 16) == pfn + page
        assert int(entry["pte_prot"], 16) & caching.mask == getattr(caching, page_prot)
    assert seen[read].contents == ["fill:0x5a"] * 4


@pytest.mark.guarantee(38)
@pytest.mark.paths(*PREPARING)
@pytest.mark.parametrize("action", REMAPS, ids=str)
def test_page_prot_is_taken_when_the_helper_is_called(
    stack: Prober, guest: Guest, path: HookPath, pfn: int, action: Action
) -> None:
    """Only a simple ioremap takes it after the hook (mm/memory.c, simple_ioremap_prepare())."""
    plan = Plan(action=action, pfn=pfn, page_prot="writecombine", late_page_prot=1)
    script = path_script(path, plan)
    made = script.map("m", TOP)
    ptes = script.step("ptes", "m")
    seen = stack.run(script)
    caching = CACHING[guest.prepared.arch.name]
    assert seen[made].error == ""
    for entry in seen[ptes].values["pages"]:
        found = int(entry["pte_prot"], 16) & caching.mask
        assert (found == caching.writecombine) is (action is Action.SIMPLE_IOREMAP)


@pytest.mark.guarantee(22, 34)
def test_a_bar_is_mapped_as_its_file_in_sysfs_maps_it(
    stack: Prober, guest: Guest, path: HookPath, bar: Bar, pfn: int
) -> None:
    """Like a VMBus ring the file is a bin_attribute in kernfs, but it still uses .mmap."""
    plan = Plan(action=Action.IOREMAP, pfn=pfn, pgoff=pfn, page_prot="writecombine")
    script = path_script(path, plan)
    script.open("twin", f"{bar.resource}_wc")
    shown = []
    for name, file in (("m", TOP), ("n", "twin")):
        made = script.map(name, file)
        shown.append((made, script.maps(name), script.step("ptes", name)))
    script.write("m", 0x6B, "1")
    script.write("n", 0x7C, "2")
    reads = [script.read(name, "1-2") for name in ("m", "n")]
    seen = stack.run(script)
    caching = CACHING[guest.prepared.arch.name]
    (ours, vma, ptes), (theirs, twin_vma, twin_ptes) = shown
    assert (seen[ours].error, seen[theirs].error) == ("", "")
    # sysfs is mounted noexec.
    ours_vma, theirs_vma = (without_may_exec(seen[step].vma) for step in (vma, twin_vma))
    assert canonical_vma(ours_vma) == canonical_vma(theirs_vma)
    entries = [
        [(entry["pte_pfn"], entry["pte_prot"]) for entry in seen[step].values["pages"]]
        for step in (ptes, twin_ptes)
    ]
    assert entries[0] == entries[1]
    assert int(entries[0][0][1], 16) & caching.mask == caching.writecombine
    for read in reads:
        assert seen[read].contents == ["fill:0x6b", "fill:0x7c"]


@pytest.mark.paths(HookPath.LEGACY)
def test_the_file_in_sysfs_maps_device_memory(
    stack: Prober, guest: Guest, path: HookPath, bar: Bar
) -> None:
    script = path_script(path)
    script.open("twin", bar.resource)
    script.map("n", "twin")
    ptes = script.step("ptes", "n")
    script.write("n", 0x3D)
    peek = script.step("peek", "n", "all", by="mem")
    caching = CACHING[guest.prepared.arch.name]
    seen = stack.run(script)
    entries = seen[ptes].values["pages"]
    assert len(entries) == 4
    for entry in entries:
        assert int(entry["pte_prot"], 16) & caching.mask == caching.device
    assert seen[peek].contents == ["fill:0x3d"] * 4  # through two access() operations


@pytest.mark.reaches("drivers/char/hpet.c:hpet_fops")
@pytest.mark.reaches("drivers/hwtracing/stm/core.c:stm_fops")
@pytest.mark.paths(HookPath.DIRECT, HookPath.STACK_FIRST)
@pytest.mark.parametrize(
    "user",
    [
        pytest.param(user, marks=pytest.mark.kconfig(*user.symbols), id=user.name)
        for user in INTREE_FILES
        if user.name in ("hpet", "stm")
    ],
)
@pytest.mark.guarantee(22, 40)
def test_registers_are_not_cached(
    stack: Prober, guest: Guest, path: HookPath, user: InTreeFile
) -> None:
    """The channel of mmap_stm is ordinary memory, which x86 always caches (guarantee 47)."""
    script = set_up(guest, user)
    top = stack_over(script, path, LOW, user.mode)
    made = script.map("m", top, pages=1, prot=user.prot)
    ptes = script.step("ptes", "m")
    seen = stack.run(script)
    caching = CACHING[guest.prepared.arch.name]
    plain = user.name == "stm" and guest.prepared.arch == find_arch("x86_64")
    assert seen[made].error == ""
    [entry] = seen[ptes].values["pages"]
    wanted = caching.plain if plain else caching.noncached
    assert int(entry["pte_prot"], 16) & caching.mask == wanted


@pytest.mark.paths(HookPath.LEGACY)
@pytest.mark.parametrize(("pages", "offset"), [(1 << 20, 0), (1, 1 << 20)], ids=["long", "far"])
def test_the_file_in_sysfs_maps_no_more_than_its_bar(
    stack: Prober, path: HookPath, bar: Bar, pages: int, offset: int
) -> None:
    script = path_script(path)
    script.open("twin", bar.resource)
    made = script.map("n", "twin", pages=pages, offset=offset)
    assert stack.run(script)[made].error == "EINVAL"


@pytest.mark.reaches("drivers/char/mem.c:mem_fops")
@pytest.mark.kconfig("DEVMEM")
@pytest.mark.paths(HookPath.DIRECT, HookPath.STACK_FIRST)
@pytest.mark.parametrize("sync", [False, True], ids=["", "sync"])
@pytest.mark.parametrize("ram", [False, True], ids=["bar", "ram"])
def test_the_machines_memory_is_cached_as_it_is_for_the_kernel(
    stack: Prober, guest: Guest, path: HookPath, pfn: int, sync: bool, ram: bool
) -> None:
    """phys_mem_access_prot(). Only arm64 maps RAM otherwise where O_SYNC asks for it."""
    if ram and guest.prepared.kernel.symbol("STRICT_DEVMEM") == "y":
        pytest.skip("the kernel keeps its own memory from being mapped")
    caching = CACHING[guest.prepared.arch.name]
    script = path_script(path)
    script.open(LOW, "/dev/mem", "rw", *(["sync"] if sync else []))
    top = stack_over(script, path, LOW)
    made = script.map("m", top, pages=1, offset=find_ram(guest) if ram else pfn)
    ptes = script.step("ptes", "m")
    seen = stack.run(script)
    assert seen[made].error == ""
    [entry] = seen[ptes].values["pages"]
    combined = sync and guest.prepared.arch.name == "arm64"
    memory = caching.writecombine if combined else caching.plain
    wanted = memory if ram else caching.noncached
    assert int(entry["pte_prot"], 16) & caching.mask == wanted


@pytest.mark.arches("x86_64")
@pytest.mark.guarantee(46)
@pytest.mark.parametrize("action", REMAPS, ids=str)
def test_the_list_of_memory_types_is_back_after_unmapping(
    stack: Prober, path: HookPath, pfn: int, action: Action
) -> None:
    script = path_script(path, Plan(action=action, pfn=pfn, page_prot="noncached"))
    before = script.step("show", PAT_LIST)
    script.map("m", TOP)
    mapped = script.step("show", PAT_LIST)
    with script.fork():
        script.step("munmap", "m")
    forked = script.step("show", PAT_LIST)
    script.step("munmap", "m", "1-2")
    split = script.step("show", PAT_LIST)
    script.step("munmap", "m")
    after = script.step("show", PAT_LIST)
    seen = stack.run(script)
    lines = [seen[step].values["lines"] for step in (before, mapped, forked, split, after)]
    kept = [line for line in lines[1] if line not in lines[0]]
    start = pfn << 12
    assert [line.split() for line in kept] == [
        ["PAT:", "[mem", f"{start:#018x}-{start + 0x4000:#018x}]", "uncached-minus"]
    ]
    assert lines[2] == lines[1]
    assert lines[3] == lines[1]
    assert lines[4] == lines[0]


@pytest.mark.arches("x86_64")
@pytest.mark.guarantee(28, 46, 54)
@pytest.mark.paths(*PREPARING)
def test_the_list_of_memory_types_is_back_after_a_failure(
    stack: Prober, path: HookPath, pfn: int
) -> None:
    """mapped() fails after the remap has added the range to the list."""
    plan = Plan(
        action=Action.REMAP,
        pfn=pfn,
        page_prot="noncached",
        vm_ops=VmOps.FULL,
        mapped_error="-EIO",
    )
    script = path_script(path, plan)
    before = script.step("show", PAT_LIST)
    made = script.map("m", TOP)
    after = script.step("show", PAT_LIST)
    seen = stack.run(script)
    assert seen[made].error == "EIO"
    assert seen[after].values["lines"] == seen[before].values["lines"]


@pytest.mark.arches("x86_64")
@pytest.mark.guarantee(37, 46)
@pytest.mark.paths(*PREPARING)
@pytest.mark.parametrize(
    ("start", "size"), [("0", "2p"), ("1p", "2p"), ("2p", "2p")], ids=["first", "middle", "last"]
)
@pytest.mark.parametrize("action", [Action.REMAP, Action.IOREMAP], ids=str)
def test_a_part_is_mapped_with_its_memory_type_and_not_kept_in_the_list(
    stack: Prober, path: HookPath, pfn: int, action: Action, start: str, size: str
) -> None:
    """The list has only remaps of whole mappings (mm/memory.c, remap_pfn_range_track())."""
    plan = Plan(
        action=action, pfn=pfn, page_prot="noncached", action_offset=start, action_size=size
    )
    script = path_script(path, plan)
    before = script.step("show", PAT_LIST)
    made = script.map("m", TOP)
    ptes = script.step("ptes", "m")
    mapped = script.step("show", PAT_LIST)
    script.step("munmap", "m")
    after = script.step("show", PAT_LIST)
    seen = stack.run(script)
    assert seen[made].error == ""
    entries = [entry for entry in seen[ptes].values["pages"] if "pte_pfn" in entry]
    assert [int(entry["pte_pfn"], 16) for entry in entries] == [pfn, pfn + 1]
    for entry in entries:
        assert int(entry["pte_prot"], 16) & CACHING["x86_64"].mask == CACHING["x86_64"].noncached
    lines = [seen[step].values["lines"] for step in (before, mapped, after)]
    assert lines[1] == lines[0]
    assert lines[2] == lines[0]


@pytest.mark.arches("x86_64")
@pytest.mark.guarantee(46)
@pytest.mark.paths(*PREPARING)
def test_what_ends_within_the_last_page_is_in_the_list_as_a_whole(
    stack: Prober, path: HookPath, pfn: int
) -> None:
    plan = Plan(action=Action.REMAP, pfn=pfn, page_prot="noncached", action_size="0x3800")
    script = path_script(path, plan)
    before = script.step("show", PAT_LIST)
    made = script.map("m", TOP)
    mapped = script.step("show", PAT_LIST)
    script.step("munmap", "m")
    after = script.step("show", PAT_LIST)
    seen = stack.run(script)
    lines = [seen[step].values["lines"] for step in (before, mapped, after)]
    start = pfn << 12
    assert seen[made].error == ""
    assert [line for line in lines[1] if f"{start:#018x}-{start + 0x4000:#018x}" in line]
    assert lines[2] == lines[0]


@pytest.mark.arches("x86_64")
@pytest.mark.guarantee(28, 46, 54)
@pytest.mark.paths(*PREPARING)
@pytest.mark.parametrize("size", [None, "2p"], ids=["whole", "part"])
def test_memory_of_two_types_is_not_remapped_as_one(
    stack: Prober, path: HookPath, pfn: int, size: str | None
) -> None:
    """The preparation succeeds, but the remap fails (mm/memory.c, remap_pfn_range_track())."""
    script = path_script(path)
    for page, page_prot in enumerate(("noncached", "writecombine")):
        script.open(page_prot, "/dev/mmap_direct")
        script.plan(page_prot, Plan(action=Action.REMAP, pfn=pfn + page, page_prot=page_prot))
        script.map(page_prot, page_prot, pages=1)
    start = None if size is None else "0"
    plan = Plan(
        action=Action.REMAP,
        pfn=pfn,
        vm_ops=VmOps.NO_CLOSE,
        action_offset=start,
        action_size=size,
    )
    script.plan(hook_name(path), plan)
    script.step("clearlog")
    before = script.step("show", PAT_LIST)
    made = script.map("m", TOP)
    log, after = script.hooklog(), script.step("show", PAT_LIST)
    seen = stack.run(script)
    assert seen[made].error == "EINVAL"
    assert "mapped" not in names(seen[log].events)
    assert seen[after].values["lines"] == seen[before].values["lines"]


@pytest.mark.arches("x86_64")  # on arm64 remap_pte_range() hits BUG_ON(): the entries are present
@pytest.mark.guarantee(46)
@pytest.mark.paths(HookPath.DIRECT)
def test_what_the_replacement_has_remapped_is_not_remapped_again(
    stack: Prober, path: HookPath
) -> None:
    script = Script()
    script.open("spare", "/dev/mmap_legacy")
    script.plan("spare", Plan(action=Action.REMAP))
    plan = Plan(action=Action.REMAP, replace="file")
    open_path(script, path, plan, replacement="spare")
    before = script.step("counts", TOP)
    made = script.map("m", TOP)
    after = script.step("counts", TOP)
    seen = stack.run(script)
    assert seen[made].error == "EINVAL"
    for key in ("file", "replacement", "page_mapcount"):
        assert seen[after].values[key] == seen[before].values[key]


@pytest.mark.guarantee(47)
@pytest.mark.parametrize("page_prot", ["noncached", "writecombine"])
def test_ordinary_memory_is_cached_as_the_architecture_says(
    stack: Prober, guest: Guest, path: HookPath, page_prot: str
) -> None:
    """x86 has one type for each page of RAM (arch/x86/mm/pat/memtype.c, reserve_pfn_range())."""
    script = path_script(path, Plan(action=Action.REMAP, page_prot=page_prot))
    made = script.map("m", TOP)
    ptes = script.step("ptes", "m")
    seen = stack.run(script)
    caching = CACHING[guest.prepared.arch.name]
    wanted = (
        caching.plain if guest.prepared.arch == find_arch("x86_64") else getattr(caching, page_prot)
    )
    assert seen[made].error == ""
    for entry in seen[ptes].values["pages"]:
        assert int(entry["pte_prot"], 16) & caching.mask == wanted
