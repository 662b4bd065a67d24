# SPDX-License-Identifier: GPL-2.0
"""What the hooks of devices and disks promise beyond what all files share."""

from __future__ import annotations

import dataclasses

import pytest

from testbed.intree.bar import find_bar, find_ram
from testbed.intree.intreefile import INTREE_FILES, LOW, InTreeFile, set_up
from testbed.kernel.request import Kernel
from testbed.lab.guest import Guest
from testbed.mmap.script import Script
from testbed.suite.intreecases import intree_named, ready

FILES = {file.name: file for file in INTREE_FILES}

# From include/uapi/linux/fs.h, fs/ext4/ext4.h and include/uapi/linux/f2fs.h.
BLKROSET = "0x125d"
SHUTDOWN = "0x8004587d"

_MEM = pytest.mark.reaches("drivers/char/mem.c:mem_fops")
_ZERO = pytest.mark.reaches("drivers/char/mem.c:zero_fops")


@pytest.fixture
def last_frame(guest: Guest, kernel: Kernel) -> int:
    """The number of the last page frame that the machine can have."""
    if guest.prepared.arch.name == "x86_64":
        words = guest.session.get("/proc/cpuinfo").decode().split("address sizes\t: ")[1].split()
        bits = int(words[0])
    else:
        # At most PHYS_MASK_SHIFT (arch/arm64/include/asm/pgtable-prot.h): a CPU may have less.
        bits = int(kernel.symbol("ARM64_PA_BITS"))
    return (1 << bits) // guest.session.hello().page_size - 1


@_MEM
@pytest.mark.kconfig("DEVMEM")
@pytest.mark.guarantee(35)
@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_memory_that_the_machine_cannot_have_is_not_mapped(
    guest: Guest, last_frame: int, mode: str
) -> None:
    """arch/*/mm/mmap.c, valid_mmap_phys_addr_range(). Nothing is read: the place is empty."""
    prot = "rw" if mode == "rw" else "r"
    script = Script()
    script.open("f", "/dev/mem", mode)
    beyond = [
        script.map("m", "f", pages=pages, offset=offset, prot=prot)
        for pages, offset in (
            (1, last_frame + 1),
            (2, last_frame),
            (4, last_frame - 2),
            (1, 2 * last_frame),
        )
    ]
    # On arm64 the page tables of a CPU without LPA2 hold 48 bits.
    highest = min(last_frame, (1 << 48) // guest.session.hello().page_size - 1)
    fits = script.map("n", "f", pages=2, offset=highest - 3, prot=prot)
    seen = guest.prober.run(script)
    assert [seen[step].error for step in beyond] == ["EINVAL"] * len(beyond)
    assert seen[fits].error == ""


def _last_of_all_addresses(guest: Guest) -> str:
    """Map the last page that an offset can name. Return the errno."""
    script = Script()
    script.open("f", "/dev/mem")
    frame = (1 << 64) // guest.session.hello().page_size - 1
    made = script.map("m", "f", pages=1, offset=frame)
    return guest.prober.run(script)[made].error


@_MEM
@pytest.mark.kconfig("DEVMEM")
@pytest.mark.arches("x86_64")
@pytest.mark.guarantee(35)
def test_the_last_page_of_all_addresses_is_not_mapped(guest: Guest) -> None:
    assert _last_of_all_addresses(guest) == "EINVAL"


@_MEM
@pytest.mark.kconfig("DEVMEM")
@pytest.mark.arches("arm64")
@pytest.mark.guarantee(35)
@pytest.mark.defect(
    "KD35", symptom=r"the last page of all addresses is mapped", recorded=("7.3.4", "7.3.4")
)
def test_the_last_page_of_all_addresses_is_not_mapped_on_arm64(guest: Guest) -> None:
    """arch/arm64/mm/mmap.c, valid_mmap_phys_addr_range(): the sum of offset and size is zero."""
    error = _last_of_all_addresses(guest)
    assert error == "EINVAL", f"the last page of all addresses is mapped: {error or 'no error'}"


@_MEM
@pytest.mark.kconfig("DEVMEM")
def test_only_a_strict_kernel_keeps_its_memory_from_being_mapped(
    guest: Guest, kernel: Kernel
) -> None:
    """drivers/char/mem.c, range_is_allowed(): EPERM."""
    script = Script()
    script.open("f", "/dev/mem", "ro")
    made = script.map("m", "f", pages=1, offset=find_ram(guest), prot="r")
    seen = guest.prober.run(script)
    strict = kernel.symbol("STRICT_DEVMEM") == "y"
    assert seen[made].error == ("EPERM" if strict else "")


@_MEM
@pytest.mark.kconfig("DEVMEM")
@pytest.mark.guarantee(36)
def test_a_private_mapping_of_memory_shows_the_frame_as_its_offset(guest: Guest) -> None:
    size = guest.session.hello().page_size
    first = find_bar(guest).pfn(size)
    script = Script()
    script.open("f", "/dev/mem")
    script.map("s", "f", offset=first)
    script.write("s", 0x31)
    made = script.map("m", "f", offset=first, flags="private")
    maps, read = script.maps("m"), script.read("m")
    script.write("m", 0x32, "1")
    own, shared = script.read("m", "1"), script.read("s", "1")
    script.write("s", 0)
    seen = guest.prober.run(script)
    assert seen[made].error == ""
    assert seen[maps].vma.offset == first * size
    assert seen[read].contents == ["fill:0x31"] * 4
    assert (seen[own].contents, seen[shared].contents) == (["fill:0x32"], ["fill:0x31"])


# The hook took a shared mapping of a file that is open for reading for a private one.
_READ_ONLY_ZEROS = pytest.mark.defect(
    "R16",
    symptom="a shared mapping shows /dev/zero",
    recorded=("7.2.12", "7.2.12"),
    fixed="7.3.4",
)


@_ZERO
@pytest.mark.guarantee(23, 29)
@pytest.mark.parametrize(
    ("mode", "flags", "prot", "path"),
    [
        ("rw", "shared", "rw", "/dev/zero (deleted)"),
        ("rw", "shared", "none", "/dev/zero (deleted)"),
        pytest.param("ro", "shared", "r", "/dev/zero (deleted)", marks=_READ_ONLY_ZEROS),
        ("rw", "private", "rw", "/dev/zero"),
        ("ro", "private", "rw", "/dev/zero"),
    ],
)
def test_a_shared_mapping_of_zeros_has_a_file_of_its_own(
    guest: Guest, mode: str, flags: str, prot: str, path: str
) -> None:
    """What counts is MAP_SHARED, not whether the file may be written (VM_MAYSHARE)."""
    script = Script()
    script.open("f", "/dev/zero", mode)
    made = script.map("m", "f", flags=flags, prot=prot)
    maps, read = script.maps("m"), script.read("m")
    with script.fork():
        script.write("m", 0x15)
    after = script.read("m")
    seen = guest.prober.run(script)
    assert seen[made].error == ""
    assert seen[maps].vma.path == path, f"a {flags} mapping shows {seen[maps].vma.path}"
    if "r" in prot:
        assert seen[read].contents == ["zero"] * 4
        both = flags == "shared" and "w" in prot
        assert seen[after].contents == ["fill:0x15" if both else "zero"] * 4


@_ZERO
@pytest.mark.parametrize(
    ("flags", "charged"),
    [("shared", True), ("shared,noreserve", False), ("private", True)],
    ids=["shared", "not-reserved", "private"],
)
def test_zeros_are_charged_unless_nothing_is_reserved(
    guest: Guest, flags: str, charged: bool
) -> None:
    """The file of a shared mapping is charged whole (mm/shmem.c, shmem_acct_size())."""
    pages = 1024
    script = Script()
    script.open("f", "/dev/zero")
    before = script.step("meminfo")
    script.map("m", "f", flags=flags, pages=pages)
    mapped = script.step("meminfo")
    script.step("munmap", "m")
    after = script.step("meminfo")
    seen = guest.prober.run(script)
    had, has, again = (
        seen[step].values["fields"]["Committed_AS"] for step in (before, mapped, after)
    )
    size = pages * guest.session.hello().page_size >> 10
    assert (has - had > size // 2) is charged
    assert again - had < size // 2


@pytest.mark.reaches("block/fops.c:def_blk_fops")
@pytest.mark.kconfig("BLK_DEV_LOOP")
def test_a_disk_that_became_read_only_is_not_mapped_for_writing(guest: Guest) -> None:
    script = set_up(guest, FILES["blkdev"])
    protected = script.step("ioctl", LOW, BLKROSET, bytes="01000000")
    made = [
        script.map("m", LOW, prot=prot, flags=flags)
        for flags, prot in (("shared", "rw"), ("shared", "r"), ("private", "rw"))
    ]
    script.step("ioctl", LOW, BLKROSET, bytes="00000000")
    again = script.map("m", LOW)
    seen = guest.prober.run(script)
    assert seen[protected].error == ""
    # A shared mapping could become writable later.
    assert [seen[step].error for step in made] == ["EINVAL", "EINVAL", ""]
    assert seen[again].error == ""


def _stricken(user: InTreeFile, options: str = "") -> InTreeFile:
    """A file that cannot be removed at the end. The next mount recovers the file system."""
    up = user.up.replace("mount ", f"mount {options} ") if options else user.up
    return dataclasses.replace(user, up=up, down="umount /tmp/user; rmdir /tmp/user")


@intree_named("ext4", "f2fs")
@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_a_file_system_that_was_shut_down_maps_nothing(
    guest: Guest, user: InTreeFile, mode: str
) -> None:
    script = ready(guest, _stricken(user))
    script.open("f", "/tmp/user/file", mode)
    before = script.map("m", "f", prot="r")
    down = script.step("ioctl", LOW, SHUTDOWN, bytes="00000000")
    after = script.map("n", "f", prot="r")
    seen = guest.prober.run(script)
    assert (seen[before].error, seen[down].error) == ("", "")
    assert seen[after].error == "EIO"


@intree_named("ext4")
def test_after_an_error_only_files_that_are_open_for_reading_are_mapped(
    guest: Guest, user: InTreeFile
) -> None:
    """fs/ext4/ext4.h, ext4_emergency_state(): the mount became read-only."""
    script = ready(guest, _stricken(user, "-o errors=remount-ro"))
    mounts = guest.session.get("/proc/mounts").decode().splitlines()
    disk = next(line.split()[0] for line in mounts if " /tmp/user " in line)
    script.open("error", f"/sys/fs/ext4/{disk.removeprefix('/dev/')}/trigger_fs_error", "wo")
    script.open("ro", "/tmp/user/file", "ro")
    before = script.map("m", LOW)
    script.step("write_file", "error", "78")
    after = [script.map("n", name, prot="r") for name in (LOW, "ro")]
    seen = guest.prober.run(script)
    assert seen[before].error == ""
    assert [seen[step].error for step in after] == ["EROFS", ""]


@pytest.mark.reaches("fs/aio.c:aio_ring_fops")
@pytest.mark.kconfig("AIO")
@pytest.mark.guarantee(66, 67)
def test_an_aio_ring_is_neither_inherited_nor_enlarged(guest: Guest) -> None:
    script = Script()
    script.step("io_setup", "ring", "1")
    with script.fork():
        child = script.maps("ring")
    grown = script.step("mremap", "ring", len="64p", flags="maymove")
    maps = script.maps("ring")
    ended = script.step("io_destroy", "ring")
    seen = guest.prober.run(script)
    assert seen[child].vmas == []
    assert seen[grown].error == "EFAULT"
    assert seen[maps].vma.vmflags >= {"sh", "dc", "de"}
    assert seen[ended].error == ""


@pytest.mark.reaches("fs/aio.c:aio_ring_fops")
@pytest.mark.kconfig("AIO")
@pytest.mark.guarantee(66)
def test_an_aio_ring_moves_only_as_a_whole(guest: Guest) -> None:
    """fs/aio.c, aio_ring_mremap(): the context would not know where the rest is."""
    script = Script()
    script.step("io_setup", "ring", "8192")
    script.map("place", "anon", pages=1, prot="none", flags="private")
    part = script.step("mremap ring old=1p len=1p flags=maymove,fixed addr=place as=part")
    ended = script.step("io_destroy", "ring")
    seen = guest.prober.run(script)
    assert (seen[part].error, seen[ended].error) == ("EINVAL", "")
