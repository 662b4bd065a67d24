# SPDX-License-Identifier: GPL-2.0
"""overlayfs: copy-up, exec, merging and addresses."""

from __future__ import annotations

from functools import partial

import pytest

from testbed.intree.stacks import FILE_STACKS, FILL, FOLDER, FileStack, overlay, set_up
from testbed.lab.guest import Guest
from testbed.mmap.script import Script

pytestmark = pytest.mark.kconfig("OVERLAY_FS")

HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage"

FILLED = f"fill:{FILL:#x}"

# A file of the upper directory: it is mapped without a copy-up, even for writing.
UPPER = FILE_STACKS[0]
# A file of the lower directory: the first open for writing copies it up.
LOWER = FileStack(
    name="overlay-lower", layers=(overlay("one", "base/lower", "base/upper"),), home="base/lower"
)


def test_a_mapping_of_the_lower_file_stays_on_it_when_it_is_copied_up(guest: Guest) -> None:
    set_up(guest, LOWER)
    script = Script()
    script.open("f", LOWER.above, "ro")
    script.map("old", "f", prot="r")
    before = script.read("old")
    script.open("g", LOWER.above)
    script.map("new", "g")
    script.write("new", 0x88, "1")
    views = [script.read("old"), script.read("new")]
    script.open("lower", LOWER.below, "ro")
    script.open("upper", f"{FOLDER}/base/upper/file", "ro")
    files = [script.step("pread", name, off=0, len="4p") for name in ("lower", "upper")]
    paths = [script.maps(name) for name in ("old", "new")]
    seen = guest.prober.run(script)
    written = [FILLED, "fill:0x88", FILLED, FILLED]
    assert seen[before].contents == [FILLED] * 4
    assert [seen[view].contents for view in views] == [[FILLED] * 4, written]
    assert [seen[file].contents for file in files] == [[FILLED] * 4, written]
    assert [seen[maps].vma.path for maps in paths] == [LOWER.above] * 2


def test_a_private_mapping_of_a_read_only_lower_file_is_written(guest: Guest) -> None:
    set_up(guest, LOWER)
    _shell(guest, f"mount -o remount,ro {FOLDER}/one")
    script = Script()
    refused = script.open("w", LOWER.above)
    script.open("f", LOWER.above, "ro")
    shared = script.map("s", "f")
    script.map("m", "f", flags="private")
    script.write("m", 0x88, "0")
    own, file = script.read("m"), script.step("pread", "f", off=0, len="4p")
    seen = guest.prober.run(script)
    assert (seen[refused].error, seen[shared].error) == ("EROFS", "EACCES")
    assert seen[own].contents == ["fill:0x88", *[FILLED] * 3]
    assert seen[file].contents == [FILLED] * 4


@pytest.mark.guarantee(3, 73)
def test_a_program_of_the_lower_folder_is_executed(guest: Guest) -> None:
    set_up(guest, LOWER)
    _shell(guest, f"cp /bin/busybox {FOLDER}/base/lower/busybox")
    program = f"{FOLDER}/one/busybox"
    maps = guest.session.check([program, "cat", "/proc/self/maps"]).out.splitlines()
    shown = [line.split()[1] for line in maps if line.endswith(program)]
    direct = guest.session.check(["/bin/busybox", "cat", "/proc/self/maps"]).out.splitlines()
    assert shown == [line.split()[1] for line in direct if line.endswith("/bin/busybox")]
    assert "r-xp" in shown


@pytest.mark.guarantee(59, 61)
def test_neighbours_merge_only_after_a_round_trip_of_mprotect(guest: Guest) -> None:
    """During mmap() the new VMA has the outer file, but its neighbour has the backing file."""
    set_up(guest, UPPER)
    counts = []
    script = Script()
    for name, path in (("f", UPPER.above), ("g", UPPER.below)):
        script.open(name, path)
        script.map("m", "anon", pages=4, prot="none")
        script.map("low", name, pages=2, flags="shared,fixed", addr="m")
        script.map("high", name, pages=2, offset=2, flags="shared,fixed", addr="m+2p")
        fresh = script.maps("m")
        for prot in ("r", "rw"):
            script.step("mprotect", "m", prot=prot)
        counts.append((fresh, script.maps("m")))
    seen = guest.prober.run(script)
    stacked, direct = ([len(seen[step].vmas) for step in pair] for pair in counts)
    assert (stacked, direct) == ([2, 1], [1, 1])


@pytest.mark.guarantee(68)
def test_remap_file_pages_takes_the_direct_path_to_the_lower_file(guest: Guest) -> None:
    """The VMA's file is the backing file by then, so do_mmap() does not see the overlay again.

    A piece that is remapped to its old place therefore merges with its neighbours at once, as
    without a stack.
    """
    set_up(guest, UPPER)
    script = Script()
    script.open("f", UPPER.above)
    script.map("m", "f")
    script.write("m", 0x2, "2")
    script.step("remap_file_pages", "m", off="0p")
    remapped = script.step("remap_file_pages", "m", "1", off="1p")
    same = script.maps("m")
    script.step("remap_file_pages", "m", "0", off="2p")
    read, maps = script.read("m"), script.maps("m")
    seen = guest.prober.run(script)
    assert seen[remapped].errno == 0
    assert len(seen[same].vmas) == 1
    assert seen[read].contents == ["fill:0x2", FILLED, "fill:0x2", FILLED]
    assert [vma.path for vma in seen[maps].vmas] == [UPPER.above] * 2


@pytest.mark.arches("arm64")
@pytest.mark.guarantee(68, 75)
def test_remap_file_pages_brings_what_only_the_lower_file_may(guest: Guest) -> None:
    """tmpfs allows tags in its pages (VM_MTE_ALLOWED); overlayfs does not."""
    if "mte" not in guest.session.get("/proc/cpuinfo").decode().split():
        pytest.skip("the CPU lacks memory tags")
    set_up(guest, UPPER)
    script = Script()
    script.open("f", UPPER.above)
    script.map("m", "f")
    before = script.step("mprotect", "m", "1", prot="rwm")
    script.step("remap_file_pages", "m", "1", off="1p")
    after, maps = script.step("mprotect", "m", "1", prot="rwm"), script.maps("m")
    seen = guest.prober.run(script)
    assert (seen[before].error, seen[after].error) == ("EINVAL", "")
    assert ["mt" in vma.vmflags for vma in seen[maps].vmas] == [False, True, False]


@pytest.mark.guarantee(7)
def test_the_overlays_own_noexec_counts(guest: Guest) -> None:
    set_up(guest, UPPER)
    _shell(guest, f"mount -o remount,noexec {FOLDER}/one")
    script = Script()
    for name, path in (("f", UPPER.above), ("g", UPPER.below)):
        script.open(name, path)
    above, below = (script.map("m", name, prot="rx") for name in ("f", "g"))
    seen = guest.prober.run(script)
    assert (seen[above].error, seen[below].error) == ("EPERM", "")


@pytest.mark.guarantee(71)
def test_a_synchronous_mapping_is_refused_by_the_overlay(guest: Guest) -> None:
    set_up(guest, UPPER)
    script = Script()
    script.open("f", UPPER.above)
    made = script.map("m", "f", flags="shared_validate,sync")
    assert guest.prober.run(script)[made].error == "EOPNOTSUPP"


@pytest.mark.kconfig("TRANSPARENT_HUGEPAGE")
@pytest.mark.guarantee(72)
def test_addresses_are_the_overlays_choice(guest: Guest) -> None:
    """tmpfs aligns mappings for huge pages; overlayfs lacks a get_unmapped_area operation.

    Two mappings with a page between them cannot both be aligned by chance. khugepaged is stopped
    first: its scan of the file below could hold the file longer than the process lives
    (mm/khugepaged.c, khugepaged_scan_mm_slot()).
    """
    old = guest.session.get(f"{HUGE_PAGES}/enabled").split(b"[")[1].split(b"]")[0]
    guest.session.write((f"{HUGE_PAGES}/enabled", b"never"))
    guest.at_end(partial(guest.session.write, (f"{HUGE_PAGES}/enabled", old)))
    size = int(guest.session.get(f"{HUGE_PAGES}/hpage_pmd_size"))
    set_up(guest, UPPER)
    _shell(guest, f"mount -o remount,huge=always {FOLDER}/base")
    script = Script()
    made: dict[str, list[int]] = {}
    for name, path in (("above", UPPER.above), ("below", UPPER.below)):
        script.open(name, path)
        made[name] = []
        for number in range(2):
            made[name].append(script.step("map", f"{name}{number}", name, len=2 * size))
            script.map("between", "anon", pages=1)
    seen = guest.prober.run(script)
    aligned = {
        name: [seen[step].address % size == 0 for step in steps] for name, steps in made.items()
    }
    assert aligned["below"] == [True, True]
    assert False in aligned["above"]


def _shell(guest: Guest, line: str) -> None:
    guest.session.check(["sh", "-ec", line])
