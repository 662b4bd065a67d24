# SPDX-License-Identifier: GPL-2.0
"""The arguments and flags of mmap(2) themselves, with each path's file (mm/mmap.c, do_mmap())."""

from __future__ import annotations

from functools import partial

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import named
from testbed.mmap.path import TOP, HookPath
from testbed.mmap.plan import Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

FULL = Plan(vm_ops=VmOps.FULL)

_LOWEST = "/proc/sys/vm/mmap_min_addr"

everywhere = pytest.mark.paths(*HookPath)


@everywhere
@pytest.mark.guarantee(70)
@pytest.mark.parametrize(
    ("flags", "faults"),
    [
        ("shared", 0),
        ("shared,populate", 4),
        ("shared,populate,nonblock", 0),
        ("shared,nonblock", 0),
        ("shared,locked", 4),
        ("shared,locked,nonblock", 4),
        ("private,populate", 4),
        ("private,populate,nonblock", 0),
    ],
)
def test_pages_are_faulted_in_only_when_that_is_asked_for(
    stack: Prober, path: HookPath, flags: str, faults: int
) -> None:
    script = path_script(path, FULL)
    script.step("clearlog")
    made = script.map("m", TOP, flags=flags)
    log = script.hooklog()
    seen = stack.run(script)
    assert seen[made].error == ""
    assert len(list(named(seen[log].events, "fault"))) == faults


@everywhere
@pytest.mark.guarantee(70)
@pytest.mark.parametrize(("when", "faults"), [("future", 4), ("future,onfault", 0)])
def test_what_is_locked_with_all_later_mappings_is_faulted_in(
    stack: Prober, path: HookPath, when: str, faults: int
) -> None:
    script = path_script(path, FULL)
    script.step("mlockall", when)
    script.step("clearlog")
    made = script.map("m", TOP)
    log = script.hooklog()
    seen = stack.run(script)
    assert seen[made].error == ""
    assert len(list(named(seen[log].events, "fault"))) == faults


@everywhere
@pytest.mark.guarantee(7)
@pytest.mark.parametrize(
    ("flags", "pages", "error"),
    [
        ("shared", 0, "EINVAL"),
        ("populate", 4, "EINVAL"),
        ("droppable", 4, "EINVAL"),
        ("shared,growsdown", 4, "EINVAL"),
        ("private,growsdown", 4, "EINVAL"),
    ],
)
def test_a_call_that_no_file_can_have_is_refused_before_the_hook(
    stack: Prober, path: HookPath, flags: str, pages: int, error: str
) -> None:
    script = path_script(path, FULL)
    script.step("clearlog")
    made = script.map("m", TOP, flags=flags, pages=pages)
    log = script.hooklog()
    seen = stack.run(script)
    assert (seen[made].error, seen[log].events) == (error, [])


@everywhere
@pytest.mark.guarantee(7)
@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"len": "0xffffffffffffffff"}, "ENOMEM"),
        ({"len": "0xfffffffffffff000"}, "ENOMEM"),
        ({"len": "1p", "off": "0x100"}, "EINVAL"),
        ({"len": "1p", "flags": "shared,hugetlb"}, "EINVAL"),
        ({"len": "1p", "flags": "private,hugetlb"}, "EINVAL"),
        ({"len": "1p", "flags": "shared,fixed", "addr": "0x100"}, "EINVAL"),
    ],
    ids=["wraps", "too-long", "offset", "huge", "private-huge", "address"],
)
def test_numbers_that_no_mapping_can_have_are_refused(
    stack: Prober, path: HookPath, keys: dict[str, str], error: str
) -> None:
    script = path_script(path, FULL)
    script.step("clearlog")
    made = script.step("map", "m", TOP, **keys)
    log = script.hooklog()
    seen = stack.run(script)
    assert (seen[made].error, seen[log].events) == (error, [])


def test_a_file_that_is_closed_cannot_be_mapped(guest: Guest) -> None:
    script = Script()
    script.open("f", "/no/such/file")
    made = script.map("m", "f")
    assert guest.prober.run(script)[made].error == "EBADF"


@everywhere
@pytest.mark.guarantee(13)
def test_what_can_be_read_can_be_executed_where_a_program_says_so(
    stack: Prober, path: HookPath
) -> None:
    """personality(2), READ_IMPLIES_EXEC; a noexec mount is stronger."""
    script = path_script(path, FULL)
    script.step("read_implies_exec")
    shown = {}
    for prot in ("r", "rw", "none"):
        script.map("m", TOP, prot=prot)
        shown[prot] = script.maps("m")
    seen = stack.run(script)
    assert {prot: "ex" in seen[maps].vma.vmflags for prot, maps in shown.items()} == {
        "r": True,
        "rw": True,
        "none": False,
    }


@pytest.mark.kconfig("SECRETMEM")
def test_nothing_of_a_noexec_mount_becomes_executable_by_the_way(guest: Guest) -> None:
    script = Script()
    script.step("secretmem", "f", "4p")
    script.step("read_implies_exec")
    made = script.map("m", "f", prot="r")
    maps = script.maps("m")
    seen = guest.prober.run(script)
    assert seen[made].error == ""
    assert not {"ex", "me"} & seen[maps].vma.vmflags


@everywhere
@pytest.mark.guarantee(7)
def test_the_limit_of_data_counts_what_is_private_and_writable(
    stack: Prober, path: HookPath
) -> None:
    pages = 256  # of which the probe itself needs some
    script = path_script(path, FULL)
    script.step("rlimit", "data", f"{pages}p")
    script.step("clearlog")
    over = script.map("m", TOP, flags="private", pages=pages + 1)
    log = script.hooklog()
    others = [
        script.map("n", TOP, pages=pages + 1),
        script.map("o", TOP, flags="private", prot="r", pages=pages),
    ]
    fits = script.map("m", TOP, flags="private", pages=pages // 2)
    later = script.step("mprotect", "o", prot="rw")
    seen = stack.run(script)
    assert (seen[over].error, seen[log].events) == ("ENOMEM", [])
    assert [seen[step].error for step in (*others, fits)] == ["", "", ""]
    assert seen[later].error == "ENOMEM"


def test_an_old_shared_mapping_ignores_flags_that_it_does_not_know(guest: Guest) -> None:
    script = Script()
    script.step("memfd", "f", "4p")
    old, new = (
        script.map("m", "f", flags=f"{sharing},sync") for sharing in ("shared", "shared_validate")
    )
    seen = guest.prober.run(script)
    assert (seen[old].error, seen[new].error) == ("", "EOPNOTSUPP")


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ("shared", ""),
        ("private", ""),
        ("private,growsdown", ""),
        ("shared,growsdown", "EINVAL"),
        ("noreserve", "EINVAL"),
        ("shared_validate", "EINVAL"),
        ("droppable,locked", "EINVAL"),
        ("droppable,growsdown", "EINVAL"),
    ],
)
def test_anonymous_memory_has_its_own_rules(guest: Guest, flags: str, error: str) -> None:
    script = Script()
    made = script.map("m", "anon", flags=flags)
    assert guest.prober.run(script)[made].error == error


def test_droppable_memory_is_neither_kept_nor_dumped(guest: Guest) -> None:
    script = Script()
    made = script.map("m", "anon", flags="droppable")
    maps = script.maps("m")
    script.step("mlock", "m")
    script.write("m", 0x31)
    locked = script.maps("m")
    with script.fork():
        child = script.read("m")
    seen = guest.prober.run(script)
    if seen[made].error == "EOPNOTSUPP":
        pytest.skip("this architecture has no bit for it")
    assert seen[maps].vma.vmflags >= {"nr", "dd", "wf"}
    assert "ac" not in seen[maps].vma.vmflags
    assert "lo" not in seen[locked].vma.vmflags
    assert seen[child].contents == ["zero"] * 4


@everywhere
@pytest.mark.guarantee(7)
@pytest.mark.parametrize("pages", [1, 3])
def test_an_offset_beyond_the_largest_file_overflows(
    guest: Guest, stack: Prober, path: HookPath, pages: int
) -> None:
    """A device may have offsets up to 2^64 (mm/mmap.c, file_mmap_ok())."""
    last = (2**64 - 1) // guest.session.hello().page_size - pages
    script = path_script(path, FULL)
    script.step("clearlog")
    over = script.map("m", TOP, offset=last + 1, pages=pages)
    log = script.hooklog()
    fits = script.map("m", TOP, offset=last, pages=pages)
    seen = stack.run(script)
    assert (seen[over].error, seen[log].events) == ("EOVERFLOW", [])
    assert seen[fits].error == ""


@pytest.mark.parametrize("pages", [1, 3])
def test_an_offset_beyond_the_largest_regular_file_overflows(guest: Guest, pages: int) -> None:
    size = guest.session.hello().page_size
    last = (2**63 - 1 - pages * size) // size
    script = Script()
    script.step("memfd", "f", "4p")
    over = script.map("m", "f", offset=last + 1, pages=pages)
    fits = script.map("m", "f", offset=last, pages=pages)
    seen = guest.prober.run(script)
    assert (seen[over].error, seen[fits].error) == ("EOVERFLOW", "")


@everywhere
@pytest.mark.guarantee(13)
def test_memory_that_is_not_to_be_reserved_is_not_charged(
    guest: Guest, stack: Prober, path: HookPath
) -> None:
    pages = 1024
    script = path_script(path, Plan(vm_ops=VmOps.NULL))
    before = script.step("meminfo")
    script.map("m", TOP, flags="private,noreserve", pages=pages)
    maps, free = script.maps("m"), script.step("meminfo")
    script.map("n", TOP, flags="private", pages=pages)
    charged = script.step("meminfo")
    seen = stack.run(script)
    had, not_yet, has = (
        seen[step].values["fields"]["Committed_AS"] for step in (before, free, charged)
    )
    size = pages * guest.session.hello().page_size >> 10
    assert "nr" in seen[maps].vma.vmflags
    assert "ac" not in seen[maps].vma.vmflags
    assert not_yet - had < size // 2
    assert has - not_yet > size // 2


@everywhere
@pytest.mark.parametrize(
    ("addr", "error"),
    [("room-3p", ""), ("room+4p", ""), ("room-2p", "EEXIST"), ("room+3p", "EEXIST")],
    ids=["before", "behind", "over-the-first-page", "over-the-last-page"],
)
def test_only_what_overlaps_is_in_the_way(
    stack: Prober, path: HookPath, addr: str, error: str
) -> None:
    script = path_script(path, FULL)
    script.map("place", "anon", pages=12, prot="none", flags="private")
    script.map("room", "anon", pages=4, prot="none", flags="private,fixed", addr="place+4p")
    script.step("munmap", "place", "0-3")
    script.step("munmap", "place", "8-11")
    made = script.map("m", TOP, pages=3, flags="shared,fixed_noreplace", addr=addr)
    assert stack.run(script)[made].error == error


@everywhere
def test_a_hint_is_taken_or_ignored_but_replaces_nothing(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    room = script.map("room", "anon", pages=8, flags="private")
    script.write("room", 0x21)
    script.step("munmap", "room", "4-7")
    free = script.map("m", TOP, addr="room+4p")
    taken = script.map("n", TOP, addr="room")
    old = script.read("room", "0-3")
    seen = stack.run(script)
    size = seen[free].values["len"]
    assert seen[free].address == seen[room].address + size
    assert seen[taken].error == ""
    assert abs(seen[taken].address - seen[room].address) >= size
    assert seen[old].contents == ["fill:0x21"] * 4


@everywhere
def test_a_hint_below_the_lowest_address_is_raised_to_it(
    guest: Guest, stack: Prober, path: HookPath
) -> None:
    before = guest.session.get(_LOWEST)
    lowest = 16 * guest.session.hello().page_size
    guest.at_end(partial(guest.session.write, (_LOWEST, before)))
    guest.session.write((_LOWEST, str(lowest).encode()))
    script = path_script(path, FULL)
    made = script.map("m", TOP, addr="1p")
    assert stack.run(script)[made].address == lowest


@everywhere
@pytest.mark.guarantee(7)
def test_the_limit_of_locked_memory_counts_without_the_capability(
    stack: Prober, path: HookPath
) -> None:
    script = path_script(path, FULL)
    dropped = script.step("unprivileged")
    script.step("rlimit", "memlock", "2p")
    fits = script.map("m", TOP, pages=2, flags="shared,locked")
    script.step("clearlog")
    over = script.map("n", TOP, pages=1, flags="shared,locked")
    log = script.hooklog()
    plain = script.map("n", TOP, pages=1)
    later = script.step("mlock", "n")
    grown = script.step("mremap", "m", len="3p", flags="maymove")
    seen = stack.run(script)
    assert (seen[dropped].error, seen[fits].error, seen[plain].error) == ("", "", "")
    assert (seen[over].error, seen[log].events) == ("EAGAIN", [])
    assert (seen[later].error, seen[grown].error) == ("ENOMEM", "EAGAIN")


@everywhere
@pytest.mark.guarantee(7)
def test_without_the_right_to_lock_nothing_is_locked(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.step("unprivileged")
    script.step("rlimit", "memlock", "0")
    script.step("clearlog")
    made = script.map("m", TOP, pages=1, flags="shared,locked")
    log = script.hooklog()
    plain = script.map("m", TOP, pages=1)
    seen = stack.run(script)
    assert (seen[made].error, seen[log].events) == ("EPERM", [])
    assert seen[plain].error == ""


@everywhere
@pytest.mark.guarantee(7)
def test_what_all_later_mappings_are_locked_for_counts_too(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.step("mlockall", "future")
    script.step("unprivileged")
    script.step("rlimit", "memlock", "2p")
    over = script.map("m", TOP, pages=3)
    fits = script.map("m", TOP, pages=2)
    seen = stack.run(script)
    assert (seen[over].error, seen[fits].error) == ("EAGAIN", "")


@pytest.mark.guarantee(68)
@pytest.mark.parametrize(("flags", "error"), [("shared", ""), ("private", "EINVAL")])
def test_only_shared_pages_are_remapped(guest: Guest, flags: str, error: str) -> None:
    """remap_file_pages() (mm/mmap.c)."""
    script = Script()
    script.step("memfd", "f", "4p")
    script.step("pwrite", "f", off="2p", len="1p", value="0x12")
    script.map("m", "f", flags=flags)
    done = script.step("remap_file_pages", "m", "0", off="2p")
    read = script.read("m", "0")
    seen = guest.prober.run(script)
    assert seen[done].error == error
    assert seen[read].contents == ["zero" if error else "fill:0x12"]


@pytest.mark.guarantee(13, 68, 69, 70)
@pytest.mark.parametrize("prot", ["r", "rw", "rx"])
@pytest.mark.parametrize("locked", [False, True], ids=["", "locked"])
def test_a_remapped_page_has_the_flags_of_the_others(guest: Guest, prot: str, locked: bool) -> None:
    script = Script()
    script.step("memfd", "f", "4p")
    script.map("m", "f", prot=prot, flags="shared,locked" if locked else "shared")
    done = script.step("remap_file_pages", "m", "1", off="3p")
    maps = script.maps("m")
    seen = guest.prober.run(script)
    assert seen[done].error == ""
    vmas = seen[maps].vmas
    assert [vma.offset // vmas[0].size for vma in vmas] == [0, 3, 2]
    assert len({(vma.perms, vma.vmflags) for vma in vmas}) == 1
    assert ("lo" in vmas[1].vmflags) is locked
    assert vmas[1].smaps["Rss"] << 10 == vmas[1].size


@pytest.mark.guarantee(68)
@pytest.mark.parametrize(
    ("before", "pages", "error"),
    [
        ("remap_file_pages m 1 off=3p", "0-2", ""),
        ("mprotect m 1 prot=r", "0-2", "EINVAL"),
        ("munmap m 1", "0-2", "EINVAL"),
        ("map n g len=1p flags=shared,fixed addr=m+1p", "0-2", "EINVAL"),
        ("munmap m 0", "0-2", "EINVAL"),
        ("munmap m 4", "2-4", "EINVAL"),
    ],
    ids=["pieces", "access", "hole", "file", "start", "end"],
)
def test_only_neighbours_of_one_kind_are_remapped_together(
    guest: Guest, before: str, pages: str, error: str
) -> None:
    script = Script()
    for name in "fg":
        script.step("memfd", name, "8p")
    for page in range(8):
        script.step("pwrite", "f", off=f"{page}p", len="1p", value=f"{0x20 + page:#x}")
    script.map("m", "f", pages=5)
    script.step(before)
    done = script.step("remap_file_pages", "m", pages, off="5p")
    read = script.read("m", pages)
    seen = guest.prober.run(script)
    assert seen[done].error == error
    remapped = [f"fill:{0x20 + page:#x}" for page in (5, 6, 7)]
    assert (seen[read].contents == remapped) is (error == "")


@everywhere
@pytest.mark.arches("x86_64")
def test_a_mapping_below_two_gigabytes_can_be_asked_for(stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    made = script.map("m", TOP, flags="shared,32bit")
    assert stack.run(script)[made].address < 1 << 31
