"""Stacks of the kernel itself: overlayfs over tmpfs, and SysV shared memory (contract B2)."""

from __future__ import annotations

from functools import partial

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.script import Script

PAGES = 4

MOUNT = """
set -e
mkdir -p /tmp/ovl
mount -t tmpfs tmpfs /tmp/ovl
cd /tmp/ovl
mkdir lower upper work merged
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
"""
UNMOUNT = "set -e; umount /tmp/ovl/merged; umount /tmp/ovl; rmdir /tmp/ovl"


@pytest.fixture
def overlay(guest: Guest) -> str:
    """The mount point of an overlay over tmpfs; a reference that leaked fails its unmount."""
    if guest.cell.kernel.symbol("OVERLAY_FS") == "m":
        guest.session.check(["modprobe", "overlay"])
    guest.session.check(["sh", "-c", MOUNT])
    guest.at_end(partial(guest.session.check, ["sh", "-c", UNMOUNT]))
    return "/tmp/ovl/merged"


def _file(script: Script, path: str) -> None:
    script.open("f", path, "rw", "create")
    script.step("ftruncate", "f", f"{PAGES}p")
    script.step("pwrite", "f", off=0, len=f"{PAGES}p", value="0x77")


@pytest.mark.kconfig("OVERLAY_FS")
@pytest.mark.parametrize("flags", ["shared", "private"])
def test_an_overlay_file_is_mapped_and_read(guest: Guest, overlay: str, flags: str) -> None:
    script = Script()
    _file(script, f"{overlay}/a")
    made = script.map("m", "f", flags=flags)
    read = script.read("m")
    seen = guest.prober.run(script)
    assert seen[made].errno == 0
    assert seen[read].contents == ["fill:0x77"] * PAGES


@pytest.mark.kconfig("OVERLAY_FS")
def test_a_shared_write_to_an_overlay_reaches_the_file(guest: Guest, overlay: str) -> None:
    script = Script()
    _file(script, f"{overlay}/a")
    script.map("m", "f")
    script.write("m", 0x88, "1")
    script.step("msync", "m")
    script.open("g", f"{overlay}/a", "ro")
    back = script.step("pread", "g", off=0, len=f"{PAGES}p")
    seen = guest.prober.run(script)
    assert seen[back].contents == ["fill:0x77", "fill:0x88", "fill:0x77", "fill:0x77"]


@pytest.mark.kconfig("OVERLAY_FS")
def test_a_private_write_to_an_overlay_stays_private(guest: Guest, overlay: str) -> None:
    script = Script()
    _file(script, f"{overlay}/a")
    script.map("m", "f", flags="private")
    script.write("m", 0x88)
    own = script.read("m")
    back = script.step("pread", "f", off=0, len="1p")
    seen = guest.prober.run(script)
    assert seen[own].contents == ["fill:0x88"] * PAGES
    assert seen[back].contents == ["fill:0x77"]


@pytest.mark.kconfig("OVERLAY_FS")
def test_a_child_writes_through_the_overlay(guest: Guest, overlay: str) -> None:
    script = Script()
    _file(script, f"{overlay}/a")
    script.map("m", "f")
    with script.fork():
        script.write("m", 0x99, "2")
    parent = script.read("m", "2")
    assert guest.prober.run(script)[parent].contents == ["fill:0x99"]


@pytest.mark.kconfig("OVERLAY_FS")
def test_an_overlay_file_that_shrinks_is_sigbus(guest: Guest, overlay: str) -> None:
    script = Script()
    _file(script, f"{overlay}/a")
    script.map("m", "f")
    script.step("ftruncate", "f", "2p")
    read = script.read("m")
    assert guest.prober.run(script)[read].contents == ["fill:0x77", "fill:0x77", "SIGBUS", "SIGBUS"]


@pytest.mark.kconfig("OVERLAY_FS")
def test_an_overlay_mapping_is_that_of_the_file_below(guest: Guest, overlay: str) -> None:
    script = Script()
    _file(script, f"{overlay}/a")
    script.open("below", "/tmp/ovl/upper/a")
    script.map("m", "f", offset=1, pages=2)
    script.map("n", "below", offset=1, pages=2)
    above, below = script.maps("m"), script.maps("n")
    seen = guest.prober.run(script)
    assert canonical_vma(seen[above].vma) == canonical_vma(seen[below].vma)
    assert seen[above].vma.path == f"{overlay}/a"


@pytest.mark.kconfig("SYSVIPC")
def test_a_shm_segment_is_written_and_read_back(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    attached = script.step("shmat", "m", "s"), script.step("shmat", "n", "s", "ro")
    before = script.read("n")
    script.write("m", 0x51)
    after = script.read("n")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    assert [seen[step].errno for step in attached] == [0, 0]
    assert seen[before].contents == ["zero"] * PAGES
    assert seen[after].contents == ["fill:0x51"] * PAGES


@pytest.mark.kconfig("SYSVIPC")
def test_attachments_are_counted_through_fork_and_detach(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.step("shmat", "m", "s")
    with script.fork():
        child = script.step("shmstat", "s")
    parent = script.step("shmstat", "s")
    script.step("shmdt", "m")
    detached = script.step("shmstat", "s")
    script.step("shmrm", "s")
    seen = guest.prober.run(script)
    counts = [seen[step].values["nattch"] for step in (child, parent, detached)]
    assert counts == [2, 1, 0]


@pytest.mark.kconfig("SYSVIPC")
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


@pytest.mark.kconfig("SYSVIPC")
def test_a_removed_segment_lives_until_it_is_detached(guest: Guest) -> None:
    script = Script()
    script.step("shmget", "s", f"{PAGES}p")
    script.step("shmat", "m", "s")
    script.step("shmrm", "s")
    script.write("m", 0x42)
    read = script.read("m")
    again = script.step("shmat", "n", "s")
    seen = guest.prober.run(script)
    assert seen[read].contents == ["fill:0x42"] * PAGES
    assert seen[again].errno == 0
