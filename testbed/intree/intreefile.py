# SPDX-License-Identifier: GPL-2.0
"""The kernel's own files that have an mmap_prepare hook, and their setup in a guest.

The hook and the vm_ops of a file decide which stacks it can be below. If they use the page cache
of vma->vm_file, the stack must switch vm_file. If they ignore vm_file or replace it, any stack
will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from testbed.lab.guest import Guest
from testbed.mmap.path import MODULE, STACKS, SWITCHING, HookPath
from testbed.mmap.script import Script
from testbed.vm.qemu import SHARED_TAG

# The script's name of the file.
LOW = "low"

# Four pages, all different.
_DIFFERENT = tuple(f"pwrite {LOW} off={n}p len=1p value={0x7700 + n:#x}" for n in range(4))

_FOLDER = "/tmp/user"
_BACKING = "/tmp/user.img"

_ANY = STACKS


# `load MODULE...` loads the modules that are not loaded. `disk NAME` prints the device with this
# serial number. The shell starts no program without need: each costs milliseconds under TCG.
_SHELL = """
load() {
    for m in "$@"; do [ -d /sys/module/$m ] || modprobe $m; done
}
disk() {
    for d in /sys/block/vd*; do
        read name <$d/serial || :
        [ "$name" != $1 ] || echo /dev/${d##*/}
    done
}
"""


@dataclass(frozen=True, kw_only=True)
class InTreeFile:
    """One file of the kernel, and the operations that it supports."""

    name: str
    hook: str  # as `testbed hooks` names it: FILE:OBJECT
    steps: tuple[str, ...]  # lines of a script that opens it as LOW
    stacks: tuple[HookPath, ...]
    symbols: tuple[str, ...]  # that the kernel's configuration must set
    modules: tuple[str, ...] = ()  # of the kernel
    own_modules: tuple[str, ...] = ()  # of this project
    up: str = ""  # shell lines
    down: str = ""
    flags: tuple[str, ...] = ("shared", "private")
    prot: str = "rw"
    pages: int = 4
    offset: int = 0  # first page of a mapping in the file
    seekable: bool = True  # pread(2) reads what is mapped
    fsync: bool = True  # it has fsync(); without, msync(2) of a shared mapping fails
    stable: bool = True  # two reads give the same
    one_memory: bool = True  # two mappings show each other's writes
    shrinks: bool = False
    noexec: bool = False  # its mount; the file on top of a stack can be on another mount
    page_sized_blocks: bool = False  # its disk was made for pages of 4 KiB

    def __str__(self) -> str:
        return self.name

    @property
    def paths(self) -> tuple[HookPath, ...]:
        return (HookPath.DIRECT, *self.stacks)

    @property
    def disks(self) -> bool:
        """Whether the file needs a guest with disks."""
        return "virtio_blk" in self.modules

    @property
    def mode(self) -> str:
        """The mode of open(2), which limits the access of a shared mapping."""
        return "rw" if "w" in self.prot else "ro"

    @property
    def writable(self) -> bool:
        """Whether a shared mapping can be written to."""
        return "w" in self.prot and "shared" in self.flags


def _file(
    name: str,
    hook: str,
    mount: str,
    *modules: str,
    symbols: tuple[str, ...],
    page_sized_blocks: bool = False,
) -> InTreeFile:
    """A file of four different pages, on an empty file system."""
    return InTreeFile(
        name=name,
        hook=hook,
        steps=(f"open {LOW} {_FOLDER}/file rw create", *_DIFFERENT),
        stacks=SWITCHING,
        symbols=symbols,
        modules=modules,
        up=f"mkdir -p {_FOLDER}; {mount} {_FOLDER}",
        down=f"rm {_FOLDER}/file; umount {_FOLDER}; rmdir {_FOLDER}",
        pages=2,
        offset=1,
        shrinks=True,
        page_sized_blocks=page_sized_blocks,
    )


def _on_disk(name: str, hook: str, *, page_sized_blocks: bool = False) -> InTreeFile:
    """A file on the file system of a disk."""
    return _file(
        name,
        hook,
        f"mount -t {name} $(disk {name})",
        "virtio_blk",
        name,
        symbols=(f"{name.upper()}_FS", "VIRTIO_BLK"),
        page_sized_blocks=page_sized_blocks,
    )


def _read_only(name: str, hook: str, symbol: str) -> InTreeFile:
    """The existing file on a disk with a read-only file system."""
    return InTreeFile(
        name=name,
        hook=hook,
        steps=(f"open {LOW} {_FOLDER}/pattern ro",),
        stacks=SWITCHING,
        symbols=(symbol, "VIRTIO_BLK"),
        modules=("virtio_blk", name),
        up=f"mkdir -p {_FOLDER}; mount -t {name} -o ro $(disk {name}) {_FOLDER}",
        down=f"umount {_FOLDER}; rmdir {_FOLDER}",
        prot="r",
        pages=2,
        offset=1,
    )


_9P = "fs/9p/vfs_file.c:v9fs_file_operations_dotl"
_9P_MODULES = ("9pnet_virtio", "9p")
_9P_SYMBOLS = ("9P_FS", "NET_9P_VIRTIO")


def _mount_9p(version: str, cache: str) -> str:
    return f"mount -t 9p -o trans=virtio,version={version},cache={cache} {SHARED_TAG}"


def _uncached_9p(name: str, hook: str, version: str) -> InTreeFile:
    """A file on the host. The guest does not cache it, so it cannot be mapped for writing."""
    return InTreeFile(
        name=name,
        hook=hook,
        steps=(
            f"open {LOW} {_FOLDER}/file rw create",
            *_DIFFERENT,
            f"open {LOW} {_FOLDER}/file ro",
        ),
        stacks=SWITCHING,
        symbols=_9P_SYMBOLS,
        modules=_9P_MODULES,
        up=f"mkdir -p {_FOLDER}; {_mount_9p(version, 'none')} {_FOLDER}",
        down=f"rm {_FOLDER}/file; umount {_FOLDER}; rmdir {_FOLDER}",
        prot="r",
        pages=2,
        offset=1,
    )


def _zero(flags: str, stacks: tuple[HookPath, ...]) -> InTreeFile:
    return InTreeFile(
        name=f"zero-{flags}",
        hook="drivers/char/mem.c:zero_fops",
        steps=(f"open {LOW} /dev/zero",),
        stacks=stacks,
        symbols=(),
        flags=(flags,),
        seekable=False,
        one_memory=False,
    )


_STM_POLICY = "/sys/kernel/config/stp-policy/mmap_stm.test"

INTREE_FILES = (
    # A shared mapping gets its own shmem file, which must stay in vm_file.
    _zero("shared", tuple(path for path in STACKS if path is not HookPath.STACK_AFTER)),
    _zero("private", _ANY),
    InTreeFile(
        name="mem",
        hook="drivers/char/mem.c:mem_fops",
        steps=(f"open {LOW} /dev/mem",),
        stacks=_ANY,
        symbols=("DEVMEM",),
        seekable=False,
        fsync=False,
        flags=("shared",),
    ),
    InTreeFile(
        name="shmem",
        hook="mm/shmem.c:shmem_file_operations",
        steps=(f"memfd {LOW} 4p", *_DIFFERENT),
        stacks=SWITCHING,
        symbols=("MEMFD_CREATE",),
        pages=2,
        offset=1,
        shrinks=True,
    ),
    InTreeFile(
        name="secretmem",
        hook="mm/secretmem.c:secretmem_fops",
        steps=(f"secretmem {LOW} 4p",),
        stacks=SWITCHING,
        symbols=("SECRETMEM",),
        flags=("shared",),
        pages=2,
        offset=1,
        seekable=False,
        fsync=False,
        noexec=True,
    ),
    _file("ramfs", "fs/ramfs/file-mmu.c:ramfs_file_operations", "mount -t ramfs none", symbols=()),
    _on_disk("ext2", "fs/ext2/file.c:ext2_file_operations"),
    _on_disk("ext4", "fs/ext4/file.c:ext4_file_operations"),
    _on_disk("xfs", "fs/xfs/xfs_file.c:xfs_file_operations"),
    _on_disk("btrfs", "fs/btrfs/file.c:btrfs_file_operations"),
    _on_disk("f2fs", "fs/f2fs/file.c:f2fs_file_operations", page_sized_blocks=True),
    _read_only("squashfs", "fs/squashfs/file.c:squashfs_file_operations", "SQUASHFS"),
    _read_only("erofs", "fs/erofs/data.c:erofs_file_fops", "EROFS_FS"),
    _file("9p", _9P, _mount_9p("9p2000.L", "mmap"), *_9P_MODULES, symbols=_9P_SYMBOLS),
    # The same hook, which forbids writing without a cache, and the hook of the older protocol.
    _uncached_9p("9p-uncached", _9P, "9p2000.L"),
    _uncached_9p("9p-2000u", "fs/9p/vfs_file.c:v9fs_file_operations", "9p2000.u"),
    InTreeFile(
        name="blkdev",
        hook="block/fops.c:def_blk_fops",
        steps=(f"open {LOW} /dev/loop0", *_DIFFERENT),
        stacks=SWITCHING,
        symbols=("BLK_DEV_LOOP",),
        modules=("loop",),
        up=f"truncate -s 1M {_BACKING}; losetup /dev/loop0 {_BACKING}",
        down=f"losetup -d /dev/loop0; rm {_BACKING}",
        pages=2,
        offset=1,
    ),
    InTreeFile(
        name="hpet",
        hook="drivers/char/hpet.c:hpet_fops",
        steps=(f"open {LOW} /dev/hpet ro",),
        stacks=_ANY,
        symbols=("HPET_MMAP",),
        flags=("shared",),
        prot="r",
        pages=1,
        seekable=False,
        stable=False,
    ),
    InTreeFile(
        name="relay",
        hook="kernel/relay.c:relay_file_operations",
        steps=(f"open {LOW} /sys/kernel/debug/mmap_relay/buffer0",),
        stacks=_ANY,
        symbols=("RELAY",),
        own_modules=("mmap_relay",),
        flags=("shared",),
        seekable=False,
        fsync=False,
    ),
    # Its open(), close() and mapped() read the file's own data from vm_file. They find it only on a
    # path that switches vm_file before the hook runs.
    InTreeFile(
        name="stm",
        hook="drivers/hwtracing/stm/core.c:stm_fops",
        steps=(f"open {LOW} /dev/mmap_stm", f"stm {LOW}"),
        stacks=(HookPath.STACK_FIRST, HookPath.PREPARE_FIRST),
        symbols=("STM_PROTO_BASIC",),
        modules=("stm_core", "stm_p_basic"),
        own_modules=("mmap_stm",),
        up="[ -d /sys/kernel/config/stp-policy ] || mount -t configfs none /sys/kernel/config; "
        f"mkdir {_STM_POLICY} {_STM_POLICY}/default",
        down=f"rmdir {_STM_POLICY}/default {_STM_POLICY}",
        flags=("shared",),
        pages=1,
        seekable=False,
        fsync=False,
    ),
)


def set_up(guest: Guest, file: InTreeFile) -> Script:
    """Set up the file until the end of the test. Return a script that opens it as LOW.

    The end of the test fails if a reference has leaked: then unmounting or unloading fails.

    Raises:
        GuestCommandError: a command failed, for example mount.
    """
    guest.load(MODULE)
    load = f"load {' '.join(file.modules)}"
    if file.own_modules:  # they depend on the kernel's modules
        guest.session.check(["sh", "-ec", _SHELL + load])
        for module in file.own_modules:
            guest.load(module)
    if file.up:
        guest.session.check(["sh", "-ec", f"{_SHELL}{load}\n{file.up}"])
        guest.at_end(partial(guest.session.check, ["sh", "-ec", file.down]))
    script = Script()
    for line in file.steps:
        script.step(line)
    return script
