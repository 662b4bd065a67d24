# SPDX-License-Identifier: GPL-2.0
"""Coda forwards mmap() to a container file, which its server chooses.

The container may be any file, even a device node. No other stack in the tree can be above
every hook.
"""

from __future__ import annotations

from functools import partial

import pytest

from testbed.guest.splat_patterns import SplatKind
from testbed.intree.stacks import FILE_PAGES, FILL, FOLDER, FileStack, coda, set_up
from testbed.lab.guest import Guest
from testbed.mmap.observation import names, only
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script

pytestmark = pytest.mark.kconfig("CODA_FS")

SERVED = FileStack(name="coda-tmpfs", layers=(coda("one", "base"),), shows="base")

ROUNDS = 20
PAGES = 16


def _serve(guest: Guest, container: str) -> str:
    """Mount Coda with a device as a container. Return the path of the Coda file."""
    set_up(guest, SERVED)
    guest.session.check(["ln", "-s", container, f"{FOLDER}/base/device"])
    return f"{FOLDER}/one/device"


def _serve_zero(guest: Guest) -> str:
    """Mount Coda with a separate node of the zero device. Return the path of the Coda file.

    A defect that damages the inode then does not affect /dev/zero.
    """
    set_up(guest, SERVED)
    guest.session.check(["mknod", f"{FOLDER}/base/zero", "c", "1", "5"])
    return f"{FOLDER}/one/zero"


def _open(script: Script, path: str) -> None:
    """Open a Coda file as `f`. A read calls the server first, without mmap_lock (KD33)."""
    script.open("f", path)
    script.step("pread", "f", off=0, len="1p")


@pytest.mark.guarantee(10, 11)
def test_the_containers_hook_sees_the_container(guest: Guest, stack: Prober) -> None:
    path = _serve(guest, "/dev/mmap_direct")
    script = Script()
    script.step("clearlog")
    _open(script, path)
    made = script.map("m", "f", pages=2, offset=3, flags="private")
    log, read = script.hooklog(), script.read("m")
    seen = stack.run(script)
    assert names(seen[log].events) == ["prepare", "prepare_done"]
    entry = only(seen[log].events, "prepare")
    assert (entry.node("file"), entry.node("vm_file")) == ("mmap_direct", "mmap_direct")
    assert (entry.number("start"), entry.number("pgoff")) == (seen[made].address, 3)
    assert (entry.values["vm_ops"], entry.values["private"]) == ("dummy", "NULL")
    assert seen[read].results == ["SIGBUS", "SIGBUS"], "the hook does not set vm_ops"


@pytest.mark.kconfig("UIO")
@pytest.mark.module("mmap_uio")
@pytest.mark.guarantee(53, 65, 67)
def test_the_containers_open_and_close_are_called(guest: Guest) -> None:
    """coda_vm_open() and coda_vm_close() pass them on: UIO's module logs each."""
    if guest.prepared.kernel.symbol("UIO") == "m":
        guest.at_end(partial(guest.session.check, ["modprobe", "-r", "uio"]))
        guest.session.check(["modprobe", "uio"])
    guest.load("mmap_uio")
    found = guest.session.check(["sh", "-c", "grep -lx mmap_uio /sys/class/uio/*/name"]).out
    path = _serve(guest, f"/dev/{found.split('/')[-2]}")
    script = Script()
    script.step("clearlog", "uio")
    _open(script, path)
    made = script.map("m", "f", flags="private")
    read = script.read("m")
    with script.fork():
        script.step("munmap", "m")
    script.step("munmap", "m")
    log = script.hooklog("uio")
    seen = guest.prober.run(script)
    order = [name for name in names(seen[log].events) if name != "fault"]
    assert seen[made].error == ""
    assert seen[read].contents == [f"uio:{page}" for page in range(4)]
    assert order == ["prepare", "prepare_done", "mapped", "open", "close", "close"]


def test_a_file_that_is_mapped_keeps_its_container(guest: Guest) -> None:
    """The server hands over another container: EBUSY, until the old one is mapped no more.

    Each open file is mapped once only (KD34).
    """
    set_up(guest, SERVED)
    script = Script()
    _open(script, SERVED.above)
    old = script.map("m", "f", flags="private")
    script.open("new", f"{FOLDER}/base/new", "rw", "create")
    script.step("pwrite", "new", off=0, len=f"{FILE_PAGES}p", value="0x99")
    renamed = script.step("rename", f"{FOLDER}/base/new", SERVED.below)
    for name in ("g", "h"):
        script.open(name, SERVED.above)
    file = script.step("pread", "g", off=0, len="1p")
    refused = script.map("n", "g", flags="private")
    kept = script.read("m", "0")
    script.step("close", "f")
    still = script.map("n", "h", flags="private")
    script.step("munmap", "m")
    for name in ("g", "h"):
        script.step("close", name)
    _open(script, SERVED.above)
    made = script.map("n", "f", flags="private")
    read = script.read("n", "0")
    seen = guest.prober.run(script)
    assert (seen[old].error, seen[renamed].error, seen[made].error) == ("", "", "")
    assert (seen[refused].error, seen[still].error) == ("EBUSY", "EBUSY")
    assert seen[kept].contents == [f"fill:{FILL:#x}"]
    assert seen[file].contents == seen[read].contents == ["fill:0x99"]


@pytest.mark.guarantee(2, 3)
def test_a_container_without_a_hook_is_refused(guest: Guest, stack: Prober) -> None:
    path = _serve(guest, "/dev/mmap_none")
    script = Script()
    _open(script, path)
    made = script.map("m", "f")
    assert stack.run(script)[made].error == "ENODEV"


@pytest.mark.guarantee(1, 3)
def test_a_container_with_both_hooks_is_refused_with_one_warning(
    guest: Guest, stack: Prober
) -> None:
    path = _serve(guest, "/dev/mmap_both")
    script = Script()
    _open(script, path)
    first, second = script.map("m", "f"), script.map("m", "f")
    with guest.expect_splat(SplatKind.WARNING, r"coda_file_mmap|can_mmap_file", once=True):
        seen = stack.run(script)
    assert (seen[first].error, seen[second].error) == ("ENODEV", "ENODEV")


@pytest.mark.guarantee(28, 54)
def test_a_containers_error_comes_back_and_leaves_nothing(guest: Guest, stack: Prober) -> None:
    """The mmap hook of a stack node without a lower file returns ENOTCONN."""
    path = _serve(guest, "/dev/mmap_stack")
    script = Script()
    _open(script, path)
    script.open("node", "/dev/mmap_stack_first")
    script.step("lower", "node", "f")
    before = script.step("counts", "node")
    script.map("m", "anon", pages=3)
    made = script.map("failed", "f", pages=1, flags="private,fixed", addr="m+1p")
    left, after = script.maps("m"), script.step("counts", "node")
    seen = stack.run(script)
    assert seen[made].error == "ENOTCONN"
    assert len(seen[left].vmas) == 2
    assert seen[after].values["lower"] == seen[before].values["lower"]


@pytest.mark.defect(
    "KD1", symptom=r"Shmem grew by \d+ kB after 20 mappings", recorded=("7.2", "7.3.4")
)
@pytest.mark.guarantee(31)
def test_a_replaced_vm_file_is_released_with_its_mapping(guest: Guest) -> None:
    """Coda's .mmap runs the hook of /dev/zero, which replaces vm_file. No test module takes part.

    Each round opens the file again: KD30 would make a second shared mapping fail.
    """
    path = _serve_zero(guest)
    script = Script()
    before = script.step("meminfo")
    for _ in range(ROUNDS):
        _open(script, path)
        script.map("m", "f", pages=PAGES)
        wrote = script.write("m", 0x1)
        script.step("munmap", "m")
        script.step("close", "f")
    after = script.step("meminfo")
    seen = guest.prober.run(script)
    assert seen[wrote].results == ["ok"] * PAGES
    grown = seen[after].values["fields"]["Shmem"] - seen[before].values["fields"]["Shmem"]
    assert grown < PAGES * 4, f"Shmem grew by {grown} kB after {ROUNDS} mappings"


@pytest.mark.defect(
    "KD30",
    symptom=r"a shared mapping of the container fails with EPERM",
    recorded=("7.2", "7.3.4"),
)
def test_writable_mappings_of_the_container_are_counted(guest: Guest) -> None:
    """mm/vma.c, mmap_region() counts in file->f_mapping.

    fs/coda/file.c, coda_file_mmap() changes that field in between.
    """
    set_up(guest, SERVED)
    script = Script()
    _open(script, SERVED.above)
    made = script.map("m", "f")
    script.step("munmap", "m")
    script.open("below", SERVED.below)
    direct = script.map("n", "below")
    seen = guest.prober.run(script)
    assert seen[made].errno == 0
    error = seen[direct].error
    assert not error, f"a shared mapping of the container fails with {error}"


@pytest.mark.kconfig("PROVE_LOCKING")
@pytest.mark.defect(
    "KD33",
    symptom=r"possible circular locking dependency detected in coda_upcall",
    recorded=("7.3", "7.3.4"),
)
def test_the_server_is_asked_without_a_lock_that_it_may_need(guest: Guest) -> None:
    """fs/coda/file.c, coda_file_mmap() calls the server under mmap_lock.

    fs/coda/psdev.c, coda_psdev_read() may take a page fault under vc_mutex.
    """
    set_up(guest, SERVED)
    script = Script()
    script.open("f", SERVED.above)
    made = script.map("m", "f", flags="private")
    assert guest.prober.run(script)[made].errno == 0


@pytest.mark.kconfig("KASAN")
@pytest.mark.defect(
    "KD34",
    symptom=r"slab-out-of-bounds in memfd_check_seals_mmap",
    recorded=("7.3", "7.3.4"),
)
def test_a_coda_file_is_not_taken_for_a_memfd(guest: Guest) -> None:
    """The first mmap() sets the file's f_mapping to the container's.

    shmem_file() checks only f_mapping.
    """
    set_up(guest, SERVED)
    script = Script()
    _open(script, SERVED.above)
    made = [script.map(name, "f", flags="private") for name in ("m", "n")]
    seen = guest.prober.run(script)
    assert [seen[step].errno for step in made] == [0, 0]
