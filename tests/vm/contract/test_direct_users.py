# SPDX-License-Identifier: GPL-2.0
"""In-tree mmap_prepare hooks: mapped directly, and below the testbed's stacks."""

from __future__ import annotations

from typing import TypedDict

import pytest

from testbed.intree.intreefile import INTREE_FILES, LOW, InTreeFile
from testbed.lab.guest import Guest
from testbed.mmap.observation import Fact
from testbed.mmap.oracle import canonical_vma, without_may_exec
from testbed.mmap.path import HookPath, stack_over
from testbed.mmap.script import Script
from testbed.suite.intreecases import first_page, intree_files, ready

WRITTEN = 0x88
CHILDS = 0x99


class _Place(TypedDict):
    """Offset and length of a mapping, in pages: arguments of Script.map()."""

    offset: int
    pages: int


def _place(guest: Guest, user: InTreeFile) -> _Place:
    return {"offset": first_page(guest, user), "pages": user.pages}


def _canonical(user: InTreeFile, fact: Fact) -> dict[str, object]:
    """Return a canonical VMA. A noexec mount of the topmost file clears VM_MAYEXEC."""
    return canonical_vma(without_may_exec(fact.vma) if user.noexec else fact.vma)


@intree_files()
@pytest.mark.guarantee(10, 11, 13, 14, 15, 27)
def test_a_file_is_mapped_through_a_path_as_directly(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    script = ready(guest, user)
    if user.name == "zero-shared" and path.shape.compat:
        guest.excuse_leaks()  # KD1 leaks the file of each shared mapping
    place = _place(guest, user)
    top = stack_over(script, path, LOW, user.mode)
    kinds = {}
    for flags in user.flags:
        kinds[flags] = [
            (
                script.map("m", file, prot=user.prot, flags=flags, **place),
                script.maps("m"),
                script.read("m", volatile=not user.stable),
                script.step("munmap", "m"),
            )
            for file in (LOW, top)
        ]
    seen = guest.prober.run(script)
    for flags, ((direct, *below), (made, *above)) in kinds.items():
        assert (seen[direct].error, seen[made].error) == ("", ""), flags
        assert _canonical(user, seen[above[0]]) == _canonical(user, seen[below[0]]), flags
        assert seen[above[1]].results == ["ok"] * user.pages, flags
        if user.stable:
            assert seen[above[1]].contents == seen[below[1]].contents, flags


@intree_files(lambda user: user.seekable)
def test_what_is_mapped_is_what_pread_reads(guest: Guest, user: InTreeFile, path: HookPath) -> None:
    script = ready(guest, user)
    place = _place(guest, user)
    top = stack_over(script, path, LOW, user.mode)
    shown = {
        flags: (script.map("m", top, prot=user.prot, flags=flags, **place), script.read("m"))
        for flags in user.flags
    }
    back = script.step("pread", LOW, off=f"{place['offset']}p", len=f"{user.pages}p")
    seen = guest.prober.run(script)
    assert len(set(seen[back].contents)) == user.pages, "the pages have equal contents"
    for flags, (made, read) in shown.items():
        assert seen[made].error == "", flags
        assert seen[read].contents == seen[back].contents, flags


@intree_files(lambda user: user.writable and user.one_memory)
@pytest.mark.guarantee(27)
def test_a_shared_write_is_everybodys(guest: Guest, user: InTreeFile, path: HookPath) -> None:
    script = ready(guest, user)
    place = _place(guest, user)
    top = stack_over(script, path, LOW, user.mode)
    last = str(user.pages - 1)
    script.map("m", top, **place)
    wrote = [script.write("m", WRITTEN, "0")]
    with script.fork():
        wrote.append(script.write("m", CHILDS, last))
    sync = script.step("msync", "m")
    script.map("n", LOW, **place)
    other = script.read("n")
    back = script.step("pread", LOW, off=f"{place['offset']}p", len=f"{user.pages}p")
    if user.name == "mem":
        script.write("n", 0)  # the memory of a device outlives the test
    seen = guest.prober.run(script)
    assert [seen[step].results for step in wrote] == [["ok"], ["ok"]]
    # A file without an fsync operation cannot be synchronised (fs/sync.c, vfs_fsync_range()).
    assert seen[sync].error == ("" if user.fsync else "EINVAL")
    contents = [f"fill:{WRITTEN:#x}", f"fill:{CHILDS:#x}"][-user.pages :]
    for read in (other, back) if user.seekable else (other,):
        shown = seen[read].contents
        assert [shown[0], shown[-1]][-user.pages :] == contents


@intree_files(lambda user: "private" in user.flags)
def test_a_private_write_stays_private(guest: Guest, user: InTreeFile, path: HookPath) -> None:
    script = ready(guest, user)
    place = _place(guest, user)
    top = stack_over(script, path, LOW, user.mode)
    script.map("n", LOW, prot=user.prot, **place)
    before = script.read("n")
    script.map("m", top, flags="private", **place)
    script.write("m", WRITTEN)
    own = script.read("m")
    after = script.read("n")
    seen = guest.prober.run(script)
    assert seen[own].contents == [f"fill:{WRITTEN:#x}"] * user.pages
    assert seen[after].contents == seen[before].contents


@intree_files(lambda user: user.shrinks)
def test_a_file_that_shrinks_under_its_mapping_is_sigbus(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    script = ready(guest, user)
    top = stack_over(script, path, LOW, user.mode)
    for flags in ("shared", "private"):
        script.map(flags, top, flags=flags)
    before = [script.read(flags) for flags in ("shared", "private")]
    cut = script.step("ftruncate", LOW, "2p")
    after = [script.read(flags) for flags in ("shared", "private")]
    seen = guest.prober.run(script)
    assert seen[cut].error == ""
    for step in before:
        assert seen[step].results == ["ok"] * 4
    for step in after:
        assert seen[step].results == ["ok", "ok", "SIGBUS", "SIGBUS"]


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(user, marks=pytest.mark.kconfig(*user.symbols), id=user.name)
        for user in INTREE_FILES
        if user.seekable and user.mode == "ro"
    ],
)
def test_a_read_only_hook_refuses_what_could_be_written(guest: Guest, user: InTreeFile) -> None:
    """mm/filemap.c, generic_file_readonly_mmap_prepare()."""
    script = ready(guest, user)
    script.open("upper", "/dev/mmap_stack_first", "rw")
    script.step("lower", "upper", LOW)
    shared = script.map("m", "upper", prot="r")
    private = script.map("n", "upper", flags="private")
    seen = guest.prober.run(script)
    assert (seen[shared].error, seen[private].error) == ("EINVAL", "")


@pytest.mark.reaches("fs/aio.c:aio_ring_fops")
@pytest.mark.kconfig("AIO")
def test_an_aio_ring_moves_with_its_mapping(guest: Guest) -> None:
    """fs/aio.c, aio_setup_ring() maps the ring itself, so it cannot be below a stack."""
    script = Script()
    made = script.step("io_setup", "ring", "1")
    shown = script.maps("ring")
    script.map("place", "anon", pages=1, flags="private")
    moved = script.step(
        "mremap", "ring", len="1p", flags="maymove,fixed", addr="place", **{"as": "moved"}
    )
    found = script.step("io_destroy", "moved")
    seen = guest.prober.run(script)
    assert seen[made].error == ""
    vma = seen[shown].vma
    assert vma.path == "/[aio] (deleted)"
    assert {"dc", "de"} <= vma.vmflags
    assert (seen[moved].error, seen[found].error) == ("", "")
