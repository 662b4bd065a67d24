# SPDX-License-Identifier: GPL-2.0
"""Mappings that are split by a change of a part, and merged again (vma_modify(), mm/vma.c)."""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.path import TOP, HookPath
from testbed.mmap.plan import Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

pytestmark = pytest.mark.guarantee(65)

# With a close() the pieces could not be merged (guarantee 63).
OPEN = Plan(vm_ops=VmOps.NO_CLOSE, private=0x2)
CLOSING = Plan(vm_ops=VmOps.FULL, private=0x2)

POOL = [f"pool:{page}" for page in range(6)]

everywhere = pytest.mark.paths(*HookPath)

# Changes of a part, and the numbers of VMAs after each.
CHANGES = {
    "middle": (("mprotect m 2-3 prot=r", 3), ("mprotect m 2-3 prot=rw", 1)),
    "from-the-left": (("mprotect m 0-1 prot=r", 2), ("mprotect m 2-5 prot=r", 1)),
    "from-the-right": (("mprotect m 4-5 prot=r", 2), ("mprotect m 0-3 prot=r", 1)),
    "border-moves-right": (("mprotect m 0-1 prot=r", 2), ("mprotect m 2-3 prot=r", 2)),
    "border-moves-left": (("mprotect m 4-5 prot=r", 2), ("mprotect m 2-3 prot=r", 2)),
    "across": (("mprotect m 2-3 prot=r", 3), ("mprotect m 1-4 prot=none", 3)),
    "between": (
        ("mprotect m 0-1 prot=r", 2),
        ("mprotect m 4-5 prot=r", 3),
        ("mprotect m 2-3 prot=r", 1),
    ),
    "advice": (("madvise m random 2-3", 3), ("madvise m normal 2-3", 1)),
    "dontfork": (("madvise m dontfork 0-2", 2), ("madvise m dofork 0-2", 1)),
    "dontdump": (("madvise m dontdump 5", 2), ("madvise m dodump 5", 1)),
    "locked": (("mlock m 1-2", 3), ("munlock m 1-2", 1)),
}


@everywhere
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("flags", ["shared", "private"])
def test_pieces_become_one_when_they_are_alike_again(
    stack: Prober, path: HookPath, flags: str, change: str
) -> None:
    script = path_script(path, OPEN)
    script.map("m", TOP, flags=flags, pages=6)
    shown = [
        (script.step(line), script.maps("m"), wanted, line) for line, wanted in CHANGES[change]
    ]
    script.step("mprotect", "m", prot="rw")
    read, vmas = script.read("m"), [script.step("vma", "m", str(page)) for page in range(6)]
    seen = stack.run(script)
    for done, maps, wanted, line in shown:
        assert (seen[done].error, len(seen[maps].vmas)) == ("", wanted), line
        vmas_seen = seen[maps].vmas
        first = vmas_seen[0]
        for vma in vmas_seen:
            assert vma.offset - first.offset == vma.start - first.start, line
    assert seen[read].contents == POOL
    assert {seen[vma].values["private"] for vma in vmas} == {"0x2"}


@everywhere
@pytest.mark.guarantee(63)
def test_a_piece_with_a_close_is_not_merged_away(stack: Prober, path: HookPath) -> None:
    script = path_script(path, CLOSING)
    script.map("m", TOP, pages=6)
    script.step("mprotect", "m", "2-3", prot="r")
    script.step("mprotect", "m", "2-3", prot="rw")
    maps, read = script.maps("m"), script.read("m")
    seen = stack.run(script)
    assert len(seen[maps].vmas) == 3
    assert seen[read].contents == POOL


@everywhere
@pytest.mark.guarantee(64)
def test_pages_of_its_own_stay_where_they_were(stack: Prober, path: HookPath) -> None:
    """The pieces share what finds their anonymous pages (anon_vma)."""
    script = path_script(path, OPEN)
    script.map("m", TOP, flags="private", pages=6)
    script.write("m", 0x41, "1,4")
    script.step("mprotect", "m", "2-3", prot="r")
    script.step("mprotect", "m", "0-1", prot="r")
    script.step("mprotect", "m", "4-5", prot="r")
    maps = script.maps("m")
    script.step("mprotect", "m", prot="rw")
    with script.fork():
        script.write("m", 0x42, "4")
        child = script.read("m")
    parent = script.read("m")
    seen = stack.run(script)
    assert len(seen[maps].vmas) == 1
    assert seen[parent].contents == [POOL[0], "fill:0x41", *POOL[2:4], "fill:0x41", POOL[5]]
    assert seen[child].contents == [POOL[0], "fill:0x41", *POOL[2:4], "fill:0x42", POOL[5]]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_finds_the_pieces_of_its_mapping(guest: Guest, change: str) -> None:
    """What a truncated file unmaps depends on the place of each piece in its tree (i_mmap)."""
    script = Script()
    script.step("memfd", "f", "6p")
    for page in range(6):
        script.step("pwrite", "f", off=f"{page}p", len="1p", value=f"{0x50 + page:#x}")
    script.map("m", "f", pages=6)
    script.read("m")
    for line, _ in CHANGES[change]:
        script.step(line)
    script.step("mprotect", "m", prot="r")
    before = script.read("m")
    after = []
    for pages in (5, 3, 2, 0):
        script.step("ftruncate", "f", f"{pages}p")
        after.append((pages, script.read("m")))
    seen = guest.prober.run(script)
    assert seen[before].contents == [f"fill:{0x50 + page:#x}" for page in range(6)]
    for pages, read in after:
        assert seen[read].results == ["ok"] * pages + ["SIGBUS"] * (6 - pages)


@pytest.mark.kconfig("ANON_VMA_NAME")
def test_only_pieces_of_one_name_become_one(guest: Guest) -> None:
    script = Script()
    script.map("m", "anon", flags="private")
    script.map("n", "anon", pages=2, flags="private,fixed", addr="m+2p")
    script.step("vma_name", "n", "other")
    apart = script.maps("m")
    script.step("vma_name", "m", "other")
    joined = script.maps("m")
    script.map("n", "anon", pages=2, flags="private,fixed", addr="m+2p")
    fresh = script.maps("m")
    seen = guest.prober.run(script)
    assert [vma.path for vma in seen[apart].vmas] == ["", "[anon:other]"]
    assert [vma.path for vma in seen[joined].vmas] == ["[anon:other]"]
    assert [vma.path for vma in seen[fresh].vmas] == ["[anon:other]", ""]


@everywhere
@pytest.mark.guarantee(66)
@pytest.mark.parametrize("flags", ["shared", "private"])
def test_a_piece_that_moves_back_joins_its_neighbour(
    stack: Prober, path: HookPath, flags: str
) -> None:
    """The copy is merged with what it fits (mm/vma.c, copy_vma()); nobody wrote to it."""
    script = path_script(path, OPEN)
    script.map("m", TOP, flags=flags, pages=6)
    script.map("away", "anon", pages=2, prot="none", flags="private")
    script.step("mremap m from=4p old=2p len=2p flags=maymove,fixed addr=away as=away")
    apart, moved = script.maps("m"), script.read("away")
    back = script.step("mremap away len=2p flags=maymove,fixed addr=m+4p as=away")
    joined, read = script.maps("m"), script.read("m")
    seen = stack.run(script)
    assert seen[moved].contents == POOL[4:]
    assert seen[back].error == ""
    assert (len(seen[apart].vmas), len(seen[joined].vmas)) == (1, 1)
    assert seen[joined].vma.size == 6 * (seen[back].values["len"] // 2)
    assert seen[read].contents == POOL


@pytest.mark.kconfig("USERFAULTFD")
@pytest.mark.parametrize("sharing", ["shared", "private"])
def test_only_pieces_of_one_userfaultfd_become_one(guest: Guest, sharing: str) -> None:
    script = Script()
    for name in "uv":
        script.step("uffd", name)
    script.step("memfd", "f", "6p")
    shown = {}
    for first, second in (("u", "u"), ("u", "v")):
        script.map("m", "f", pages=6, flags=sharing)
        steps = [
            script.step("uffd_register", "m", first, "0-1"),
            script.step("uffd_register", "m", second, "2-3"),
        ]
        shown[first + second] = (steps, script.maps("m"))
    seen = guest.prober.run(script)
    for who, (steps, maps) in shown.items():
        assert [seen[step].error for step in steps] == ["", ""]
        ends = [vma.end - seen[maps].vmas[0].start for vma in seen[maps].vmas]
        size = ends[-1] // 6
        assert ends == [pages * size for pages in ((4, 6) if who == "uu" else (2, 4, 6))]
