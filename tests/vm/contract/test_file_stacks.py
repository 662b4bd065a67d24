# SPDX-License-Identifier: GPL-2.0
"""A file on an in-tree stack is mapped like the file below it."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest

from testbed.intree.stacks import FILL, FileStack, set_up
from testbed.lab.guest import Guest
from testbed.mmap.observation import Fact
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script
from testbed.suite.intreecases import file_stacks

FILLED = f"fill:{FILL:#x}"
WRITTEN = "fill:0x88"


def _script(served: FileStack) -> Script:
    """Return a script that opens the file: `above` through the stack, `below` directly."""
    mode = "rw" if served.writable else "ro"
    script = Script()
    script.open("above", served.above, mode)
    script.open("below", served.below, mode)
    script.open("writer", served.below)
    # KD33: the first access calls Coda's server, so it must not be a mapping. KD30: the first
    # mapping must not be shared. Otherwise the container's count of writable mappings falls
    # below zero.
    script.step("pread", "above", off=0, len="1p")
    script.map("first", "above", pages=1, prot="r", flags="private")
    return script


@file_stacks()
@pytest.mark.guarantee(13, 27, 73)
def test_the_vma_is_that_of_the_file_below(guest: Guest, served: FileStack) -> None:
    set_up(guest, served)
    script = _script(served)
    shown = {}
    prots = {"shared": ("none", "r", "rx"), "private": ("none", "r", "rw", "rwx")}
    if served.writable:
        prots["shared"] += ("rw", "rwx")
    for flags in prots:
        for prot in prots[flags]:
            shown[prot, flags] = [
                (script.map("m", file, offset=1, pages=2, prot=prot, flags=flags), script.maps("m"))
                for file in ("above", "below")
            ]
    script.map("m", "above", prot="r")
    query = script.step("query", "m")
    seen = guest.prober.run(script)
    for kind, ((mapped, maps), (_, direct)) in shown.items():
        assert seen[mapped].errno == 0, kind
        above, below = seen[maps].vma, seen[direct].vma
        assert canonical_vma(above) == canonical_vma(below), kind
        assert (above.path, below.path) == (served.shown, served.below), kind
    assert seen[query].values["vmas"][0]["name"] == served.shown


@file_stacks()
@pytest.mark.guarantee(73)
def test_the_vma_shows_the_inode_of_the_path_that_it_shows(guest: Guest, served: FileStack) -> None:
    set_up(guest, served)
    script = _script(served)
    script.map("m", "above", prot="r")
    query = script.step("query", "m")
    seen = guest.prober.run(script)
    inode = _stat(guest, "%i", served.shown)
    # A file's st_dev may belong to a layer (Documentation/filesystems/overlayfs.rst).
    device = _stat(guest, "%d", str(PurePosixPath(served.shown).parent))
    vma = seen[query].values["vmas"][0]
    major, minor = (int(part, 16) for part in vma["dev"].split(":"))
    assert (vma["inode"], os.makedev(major, minor)) == (inode, device)


@file_stacks()
@pytest.mark.guarantee(24, 70)
def test_the_pages_are_those_of_the_file_below(guest: Guest, served: FileStack) -> None:
    """Both mappings have the same page frames, and equal counts of them."""
    set_up(guest, served)
    script = _script(served)
    for name, file in (("m", "above"), ("n", "below")):
        script.map(name, file, prot="r", flags="shared,populate")
    shown = [(script.read(m), script.step("pagemap", m), script.maps(m)) for m in ("m", "n")]
    seen = guest.prober.run(script)
    (read, frames, maps), (_, frames_below, maps_below) = shown
    assert seen[read].contents == [FILLED] * 4
    assert _frames(seen[frames]) == _frames(seen[frames_below])
    assert seen[maps].vma.smaps["Rss"] == seen[maps_below].vma.smaps["Rss"]


@file_stacks(writable=True)
def test_a_shared_write_reaches_the_file(guest: Guest, served: FileStack) -> None:
    set_up(guest, served)
    script = _script(served)
    script.map("m", "above")
    script.map("n", "below")
    script.write("m", 0x88, "1")
    synced = script.step("msync", "m")
    script.open("again", served.above, "ro")
    views = [script.step("pread", file, off=0, len="4p") for file in ("again", "below")]
    views.append(script.read("n"))
    script.step("pwrite", "above", off="2p", len="1p", value="0x99")
    back = script.read("m")
    seen = guest.prober.run(script)
    assert seen[synced].errno == 0
    for view in views:
        assert seen[view].contents == [FILLED, WRITTEN, FILLED, FILLED]
    assert seen[back].contents == [FILLED, WRITTEN, "fill:0x99", FILLED]


@file_stacks()
def test_a_private_write_stays_private(guest: Guest, served: FileStack) -> None:
    set_up(guest, served)
    script = _script(served)
    script.map("m", "above", flags="private")
    script.write("m", 0x88, "0,1")
    own, maps = script.read("m"), script.maps("m")
    views = [script.step("pread", file, off=0, len="4p") for file in ("above", "below")]
    with script.fork():
        script.write("m", 0x99, "2")
    after_child = script.read("m")
    seen = guest.prober.run(script)
    assert seen[own].contents == [WRITTEN, WRITTEN, FILLED, FILLED]
    assert seen[maps].vma.smaps["Anonymous"] * 1024 * 2 == seen[maps].vma.size
    for view in views:
        assert seen[view].contents == [FILLED] * 4
    assert seen[after_child].contents == seen[own].contents


@file_stacks(writable=True)
def test_what_a_child_writes_is_shared(guest: Guest, served: FileStack) -> None:
    set_up(guest, served)
    script = _script(served)
    script.map("m", "above")
    with script.fork():
        script.write("m", 0x88, "2")
        script.step("munmap", "m", "0")
    parent = script.read("m")
    seen = guest.prober.run(script)
    assert seen[parent].contents == [FILLED, FILLED, WRITTEN, FILLED]


@file_stacks()
def test_a_file_that_shrinks_below_a_mapping_is_sigbus(guest: Guest, served: FileStack) -> None:
    set_up(guest, served)
    script = _script(served)
    script.map("m", "above", prot="r")
    script.map("p", "above", flags="private")
    script.write("p", 0x88)
    before = script.read("m")
    cut = script.step("ftruncate", "above" if served.writable else "writer", "2p")
    shrunk = [script.read(name) for name in ("m", "p")]
    grown = script.step("ftruncate", "above" if served.writable else "writer", "4p")
    after = script.read("m")
    seen = guest.prober.run(script)
    assert seen[before].contents == [FILLED] * 4
    assert (seen[cut].errno, seen[grown].errno) == (0, 0)
    assert seen[shrunk[0]].contents == [FILLED, FILLED, "SIGBUS", "SIGBUS"]
    assert seen[shrunk[1]].contents == [WRITTEN, WRITTEN, "SIGBUS", "SIGBUS"]
    assert seen[after].contents == [FILLED, FILLED, "zero", "zero"]


@file_stacks()
@pytest.mark.guarantee(3, 73)
def test_a_program_is_executed(guest: Guest, served: FileStack) -> None:
    """fs/binfmt_elf.c maps a program as mmap(2) does."""
    set_up(guest, served)
    above, below, shown = (
        str(PurePosixPath(path).with_name("busybox"))
        for path in (served.above, served.below, served.shown)
    )
    guest.session.check(["cp", "/bin/busybox", below])
    # The order matters: FUSE's server opens the file for writing, and execve(2) refuses it then.
    direct = _segments(guest, below)
    assert _segments(guest, above) == [(perms, offset, shown) for perms, offset, _ in direct]
    assert "r-xp" in {perms for perms, _, _ in direct}


def _segments(guest: Guest, program: str) -> list[tuple[str, str, str]]:
    """Return the mappings of a program while it runs: permissions, offset, path."""
    maps = guest.session.check([program, "cat", "/proc/self/maps"]).out.splitlines()
    words = [line.split() for line in maps if line.endswith("/busybox")]
    return [(perms, offset, path) for _, perms, offset, _, _, path in words]


@file_stacks()
@pytest.mark.guarantee(27)
def test_a_mapping_gives_back_what_it_took(guest: Guest, stack: Prober, served: FileStack) -> None:
    """A stack node above the file reports the reference count of the file."""
    set_up(guest, served)
    script = _script(served)
    script.step("munmap", "first", "0")
    script.open("node", "/dev/mmap_stack")
    script.step("lower", "node", "above")
    before = script.step("counts", "node"), script.step("meminfo")
    prot = "rw" if served.writable else "r"
    for name, flags in (("p", "private"), ("m", "shared")):
        script.map(name, "above", prot=prot, flags=flags)
    mapped = script.step("counts", "node")
    with script.fork():
        script.step("munmap", "m", "1")
    for _ in range(20):
        script.map("p", "above", flags="private,fixed", addr="p")
        script.write("p", 0x1)
        script.map("m", "above", prot=prot, flags="shared,fixed", addr="m")
        script.read("m")
    for name in ("p", "m"):
        script.step("munmap", name)
    after = script.step("counts", "node"), script.step("meminfo")
    seen = stack.run(script)
    references = [seen[step].values["lower"] for step in (before[0], mapped, after[0])]
    assert references == [references[0], references[0] + 2 * served.held, references[0]]
    for key in ("Shmem", "Committed_AS"):
        assert seen[after[1]].values["fields"][key] == seen[before[1]].values["fields"][key], key


# Operations on a mapping.
OPERATIONS = {
    "hole": ("munmap m 1",),
    "protect": ("mprotect m 2 prot=none",),
    "grow": ("mremap m len=6p flags=maymove",),
    "shrink": ("mremap m len=3p",),
    "move": ("map room anon len=4p", "mremap m len=4p flags=maymove,fixed addr=room"),
    "duplicate": ("mremap m len=4p flags=maymove,dontunmap as=copy",),
    "lock": ("mlock m 1-2",),
    "dontneed": ("madvise m dontneed",),
    "dontfork": ("madvise m dontfork 1", "fork", "maps m", "endfork"),
    "wipeonfork": ("madvise m wipeonfork",),
    "nonlinear": ("remap_file_pages m 0 off=2p",),
    "remove": ("madvise m remove 3",),
}


@file_stacks()
@pytest.mark.parametrize("flags", ["shared", "private"])
@pytest.mark.guarantee(65, 66, 67, 68, 69)
def test_later_operations_are_those_on_the_file_below(
    guest: Guest, served: FileStack, flags: str
) -> None:
    set_up(guest, served)
    script = _script(served)
    prot = "rw" if served.writable or flags == "private" else "r"
    shown = {
        name: [_operate(script, file, prot, flags, lines) for file in ("above", "below")]
        for name, lines in OPERATIONS.items()
    }
    seen = guest.prober.run(script)
    for name, (above, below) in shown.items():
        assert [_comparable(seen[step]) for step in above] == [
            _comparable(seen[step]) for step in below
        ], name


def _operate(script: Script, file: str, prot: str, flags: str, lines: tuple[str, ...]) -> list[int]:
    """Map a file, operate on the mapping and inspect it. Return the steps with results."""
    script.map("m", file, prot=prot, flags=flags)
    script.read("m", "0")
    steps = [script.step(line) for line in lines]
    steps += [script.maps("m"), script.read("m")]
    script.step("munmap", "m")
    return [step for step in steps if script.lines[step - 1] != "endfork"]


def _comparable(fact: Fact) -> object:
    """Return the result of a step, without addresses and files."""
    if "vmas" in fact.values:
        return [canonical_vma(vma) for vma in fact.vmas]
    if "pages" in fact.values:
        return fact.contents
    return fact.error


def _frames(fact: Fact) -> list[str]:
    return [page["pfn"] for page in fact.values["pages"]]


def _stat(guest: Guest, what: str, path: str) -> int:
    return int(guest.session.check(["stat", "-c", what, path]).out)
