# SPDX-License-Identifier: GPL-2.0
"""SysV shared memory: a stack that keeps vm_file. Huge pages are the control, with .mmap."""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.script import Script

pytestmark = [
    pytest.mark.kconfig("SYSVIPC"),
    pytest.mark.reaches("mm/shmem.c:shmem_file_operations", by="shm"),
]

PAGES = 4


def _attached(*, pages: int = PAGES) -> Script:
    """Return a script with a segment `s` that is attached as `m`."""
    script = Script()
    script.step("shmget", "s", f"{pages}p")
    script.step("shmat", "m", "s")
    return script


def test_a_segment_is_written_and_read_back(guest: Guest) -> None:
    script = _attached()
    attached = script.step("shmat", "n", "s", "ro")
    before = script.read("n")
    script.write("m", 0x51)
    after = script.read("n")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert seen[attached].errno == 0
    assert seen[before].contents == ["zero"] * PAGES
    assert seen[after].contents == ["fill:0x51"] * PAGES


@pytest.mark.guarantee(13, 27)
def test_the_vma_is_that_of_a_memfd(guest: Guest) -> None:
    """A memfd has the same hook, of shmem, without a stack."""
    script = _attached()
    script.step("memfd", "f", f"{PAGES}p")
    script.map("direct", "f", pages=PAGES)
    script.step("shmat", "ro", "s", "ro")
    maps = {name: script.maps(name) for name in ("m", "direct", "ro")}
    query = script.step("query", "m")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    vma = {name: seen[step].vma for name, step in maps.items()}
    assert canonical_vma(vma["m"]) == canonical_vma(vma["direct"])
    assert vma["ro"].perms == "r--s"
    assert vma["m"].path == "/SYSV00000000 (deleted)"
    assert seen[query].values["vmas"][0]["name"] == vma["m"].path


def test_attachments_are_counted_through_fork_and_detach(guest: Guest) -> None:
    script = _attached()
    with script.fork():
        child = script.step("shmstat", "s")
    parent = script.step("shmstat", "s")
    script.step("shmdt", "m")
    detached = script.step("shmstat", "s")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert [seen[step].values["nattch"] for step in (child, parent, detached)] == [2, 1, 0]


def test_the_segment_knows_when_and_by_whom_it_was_attached(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    fresh = script.step("shmstat", "s")
    script.step("shmat", "m", "s")
    attached = script.step("shmstat", "s")
    with script.fork():
        child = script.step("shmstat", "s")
    left = script.step("shmstat", "s")
    script.step("shmdt", "m")
    detached = script.step("shmstat", "s")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    found = [
        [seen[step].values[key] for key in ("attached", "detached", "last_was_own")]
        for step in (fresh, attached, child, left, detached)
    ]
    # During the fork it is the parent that attaches the child (shm_open()).
    assert found == [
        [False, False, False],
        [True, False, True],
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("addr", "free", "over"),
    [("old", "7", "0-3"), ("old+1p", "0-3", "4"), ("old+4p", "5-7", "4")],
    ids=["whole", "last-page", "first-page"],
)
def test_an_attachment_replaces_a_mapping_only_if_that_is_asked_for(
    guest: Guest, addr: str, free: str, over: str
) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.map("old", "anon", pages=2 * PAGES, flags="private")
    script.write("old", 0x17)
    script.step("munmap", "old", free)
    refused = script.step("shmat", "m", "s", addr=addr)
    kept = script.read("old", over)
    forced = script.step("shmat", "m", "s", "remap", addr=addr)
    read = script.read("m")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert seen[refused].error == "EINVAL"
    assert set(seen[kept].contents) == {"fill:0x17"}
    assert seen[forced].error == ""
    assert seen[read].contents == ["zero"] * PAGES


def test_an_attachment_that_is_refused_is_not_counted(guest: Guest) -> None:
    """ipc/shm.c, do_shmat() counts itself while it works."""
    script = _attached()
    script.step("shmdt", "m")
    script.map("old", "anon", pages=PAGES, flags="private")
    refused = script.step("shmat", "n", "s", addr="old")
    count = script.step("shmstat", "s")
    script.step("shmrm", "s")
    gone = script.step("shmstat", "s")
    seen = guest.prober.run(script)
    assert seen[refused].error == "EINVAL"
    assert seen[count].values["nattch"] == 0
    assert seen[gone].error != ""


def test_an_attachment_is_detached_with_all_its_pieces_and_nothing_else(guest: Guest) -> None:
    """ipc/shm.c, ksys_shmdt(): the other segment's page lies where one of the own could be."""
    script = _attached(pages=6)
    script.step("mprotect", "m", "2", prot="r")
    script.step("munmap", "m", "4")
    script.step("shmget", "t", "6p")
    script.step("shmat", "n", "t")
    script.step("mremap n from=4p old=1p len=1p flags=maymove,fixed addr=m+4p as=moved")
    script.step("shmdt", "m")
    left = script.maps("m")
    counts = [script.step("shmstat", name) for name in "st"]
    for name in "st":
        script.step("shmrm", name)
    seen = guest.prober.run(script)
    assert [vma.offset // vma.size for vma in seen[left].vmas] == [4]
    assert [seen[step].values["nattch"] for step in counts] == [0, 3]


def test_an_address_can_be_rounded_down(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.map("room", "anon", pages=PAGES, flags="private")
    rounded = script.step("shmat", "m", "s", "rnd", "remap", addr="room+0x100")
    nowhere = script.step("shmat", "n", "s", "rnd", "remap", addr="0x100")
    maps = script.maps("room")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert (seen[rounded].error, seen[nowhere].error) == ("", "EINVAL")
    assert seen[rounded].address == seen[maps].vma.start
    assert seen[maps].vma.path == "/SYSV00000000 (deleted)"


@pytest.mark.guarantee(13)
@pytest.mark.parametrize(
    ("words", "perms"),
    [((), "rw-s"), (("exec",), "rwxs"), (("ro",), "r--s"), (("ro", "exec"), "r-xs")],
    ids=["rw", "rwx", "r", "rx"],
)
def test_an_attachment_is_executed_where_that_is_asked_for(
    guest: Guest, words: tuple[str, ...], perms: str
) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.step("shmat", "m", "s", *words)
    maps = script.maps("m")
    script.step("shmrm", "s")
    assert guest.prober.run(script)[maps].vma.perms == perms


@pytest.mark.guarantee(69, 70)
def test_an_attachment_is_locked_with_all_later_mappings(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.step("mlockall", "future")
    before = script.step("status")
    script.step("shmat", "m", "s")
    after, maps = script.step("status"), script.maps("m")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    vma = seen[maps].vma
    had, has = (seen[step].values["fields"]["VmLck"] for step in (before, after))
    assert "lo" in vma.vmflags
    assert (has - had) << 10 == vma.size
    assert vma.smaps["Rss"] << 10 == vma.size


def test_a_segment_ends_with_its_last_attachment_where_that_is_set(guest: Guest) -> None:
    """kernel.shm_rmid_forced (ipc/shm.c, shm_may_destroy())."""
    switch = "/proc/sys/kernel/shm_rmid_forced"
    guest.at_end(lambda: guest.session.write((switch, b"0")))
    guest.session.write((switch, b"1"))
    script = _attached()
    with script.fork():
        script.read("m")
    alive = script.step("shmstat", "s")
    script.step("shmdt", "m")
    gone = script.step("shmstat", "s")
    seen = guest.prober.run(script)
    assert seen[alive].values["nattch"] == 1
    assert seen[gone].error != ""


def test_a_page_that_is_given_back_is_zero(guest: Guest) -> None:
    """MADV_REMOVE goes through shm_fallocate()."""
    script = _attached()
    script.write("m", 0x55)
    removed = script.step("madvise", "m", "remove", "1")
    read = script.read("m")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert seen[removed].error == ""
    assert seen[read].contents == ["fill:0x55", "zero", "fill:0x55", "fill:0x55"]


def test_an_address_must_be_that_of_a_page(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.map("room", "anon", pages=PAGES, flags="private")
    askew = script.step("shmat", "m", "s", "remap", addr="room+0x100")
    anywhere = script.step("shmat", "m", "s", "remap")
    right = script.step("shmat", "m", "s", "remap", addr="room")
    synced = script.step("msync", "m")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert [seen[step].error for step in (askew, anywhere, right)] == ["EINVAL", "EINVAL", ""]
    assert seen[synced].error == ""


@pytest.mark.guarantee(65, 66)
def test_attachments_are_counted_through_splits_and_moves(guest: Guest) -> None:
    script = _attached()
    script.map("room", "anon", pages=1)
    script.step("munmap", "m", "1")
    split = script.step("shmstat", "s")
    script.step("mremap m len=1p old=1p flags=maymove,fixed addr=room as=room")
    moved = script.step("shmstat", "s")
    script.step("munmap", "m")
    script.step("munmap", "room")
    detached = script.step("shmstat", "s")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert [seen[step].values["nattch"] for step in (split, moved, detached)] == [2, 2, 0]


def test_a_read_only_attachment_refuses_writes(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.step("shmat", "m", "s", "ro")
    write = script.write("m", 0x1)
    protect = script.step("mprotect", "m", prot="rw")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert seen[write].results == ["SIGSEGV"] * PAGES
    assert seen[protect].error == "EACCES"


def test_a_child_writes_to_the_segment(guest: Guest) -> None:
    script = _attached()
    with script.fork():
        script.write("m", 0x99, "2")
    parent = script.read("m")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert seen[parent].contents == ["zero", "zero", "fill:0x99", "zero"]


def test_a_removed_segment_lives_until_it_is_detached(guest: Guest) -> None:
    script = _attached()
    before = script.step("meminfo")
    script.step("shmrm", "s")
    script.write("m", 0x42)
    read = script.read("m")
    again = script.step("shmat", "n", "s")
    alive = script.step("meminfo")
    for name in ("m", "n"):
        script.step("shmdt", name)
    gone = script.step("shmat", "n", "s")
    after = script.step("meminfo")
    seen = guest.prober.run(script)
    assert seen[read].contents == ["fill:0x42"] * PAGES
    assert (seen[again].error, seen[gone].error) == ("", "EINVAL")
    shmem = [seen[step].values["fields"]["Shmem"] for step in (before, alive, after)]
    assert shmem[1] - shmem[0] == PAGES * _page_kib(guest)
    assert shmem[2] == shmem[0]


@pytest.mark.guarantee(68)
def test_remap_file_pages_runs_the_stack_again(guest: Guest) -> None:
    script = _attached()
    script.write("m", 0x2, "2")
    remapped = script.step("remap_file_pages", "m", "0", off="2p")
    read, maps, count = script.read("m"), script.maps("m"), script.step("shmstat", "s")
    script.step("munmap", "m")
    after = script.step("shmstat", "s")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert seen[remapped].errno == 0
    assert seen[read].contents == ["fill:0x2", "zero", "fill:0x2", "zero"]
    assert [vma.path for vma in seen[maps].vmas] == ["/SYSV00000000 (deleted)"] * 2
    assert [seen[step].values["nattch"] for step in (count, after)] == [2, 0]


@pytest.mark.guarantee(55, 68)
def test_remap_file_pages_of_a_removed_segment_fails_and_leaves_a_hole(guest: Guest) -> None:
    """The kernel closes the last attachment before the hook runs. That destroys the segment."""
    script = _attached()
    script.step("shmrm", "s")
    part = script.step("remap_file_pages", "m", "0", off="2p")
    left = script.maps("m")
    other = _attached()
    other.step("shmrm", "s")
    whole = other.step("remap_file_pages", "m", off="0p")
    hole = other.maps("m")
    seen = guest.prober.run(script)
    assert (seen[part].errno, len(seen[left].vmas)) == (0, 2)
    seen = guest.prober.run(other)
    assert (seen[whole].error, seen[hole].vmas) == ("EINVAL", [])


@pytest.fixture
def huge_page(guest: Guest) -> int:
    """Reserve a huge page until the end of the test. Return its size in bytes."""
    nodes = "/proc/sys/vm/nr_hugepages"
    if guest.prepared.kernel.symbol("HUGETLBFS") != "y":
        pytest.skip("the kernel is built without HUGETLBFS")
    guest.at_end(lambda: guest.session.write((nodes, b"0")))
    guest.session.write((nodes, b"1"))
    if guest.session.get(nodes).strip() != b"1":
        pytest.skip("the guest cannot reserve a huge page")
    lines = guest.session.get("/proc/meminfo").decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Hugepagesize")) << 10


def test_a_segment_of_huge_pages_takes_the_legacy_hook(guest: Guest, huge_page: int) -> None:
    """A control: vfs_mmap() calls the .mmap of hugetlbfs without the layer."""
    script = Script()
    script.step("shmget", "s", str(huge_page), "hugetlb")
    attached = script.step("shmat", "m", "s")
    last = huge_page // (_page_kib(guest) << 10) - 1
    script.write("m", 0x7, f"0,{last}")
    with script.fork():
        child = script.read("m", f"0,{last}")
    maps = script.maps("m")
    part = script.step("munmap", "m", "1")
    script.step("shmdt", "m")
    count = script.step("shmstat", "s")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert seen[attached].errno == 0
    assert seen[part].error == "EINVAL", "a huge page cannot be split (shm_may_split())"
    assert seen[child].contents == ["fill:0x7"] * 2
    assert "ht" in seen[maps].vma.vmflags
    assert seen[maps].vma.smaps["KernelPageSize"] << 10 == huge_page
    assert seen[count].values["nattch"] == 0


def _page_kib(guest: Guest) -> int:
    return guest.session.hello().page_size >> 10
