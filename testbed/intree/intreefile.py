# SPDX-License-Identifier: GPL-2.0
"""The kernel's own files that have an mmap_prepare hook: how a guest comes by each.

Which paths a file can be stacked below follows from what its hook and its vm_ops look at:
what stands on the page cache of vma->vm_file needs a path that switches vm_file, what never
looks at vm_file, or replaces it, can be below any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from testbed.lab.guest import Guest
from testbed.mmap.path import MODULE, SWITCHING, HookPath
from testbed.mmap.script import Script
from testbed.vm.qemu import SHARED_TAG

# The script's name of the file.
LOW = "low"

# Four pages, all different.
_DIFFERENT = tuple(f"pwrite {LOW} off={n}p len=1p value={0x7700 + n:#x}" for n in range(4))

_FOLDER = "/tmp/user"
_BACKING = "/tmp/user.img"

_ANY = (HookPath.STACK, HookPath.STACK_FIRST, HookPath.STACK_AFTER, HookPath.THREE_LEVEL)


# `load MODULE...` those that are not; `disk NAME`: the device that has this serial number.
# No program is started where the shell alone can tell: each costs milliseconds under TCG.
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
    """One file, and what can be done to it."""

    name: str
    hook: str  # its name in testbed/intree/hooks.py
    steps: tuple[str, ...]  # lines of a script that open it as LOW
    stacks: tuple[HookPath, ...]
    symbols: tuple[str, ...]  # of the kernel's configuration
    modules: tuple[str, ...] = ()  # of the kernel
    own_modules: tuple[str, ...] = ()
    up: str = ""  # shell lines
    down: str = ""
    flags: tuple[str, ...] = ("shared", "private")
    prot: str = "rw"
    pages: int = 4
    offset: int = 0  # page of the file at which a mapping begins
    seekable: bool = True  # pread(2) shows what is mapped
    fsync: bool = True  # it has one, without which msync(2) of a shared mapping is refused
    stable: bool = True  # reading twice gives the same
    one_memory: bool = True  # two mappings show each other's writes
    shrinks: bool = False
    noexec: bool = False  # its mount, which the file on top of a stack need not share
    page_sized_blocks: bool = False  # of a disk that was made for pages of 4 KiB

    def __str__(self) -> str:
        return self.name

    @property
    def paths(self) -> tuple[HookPath, ...]:
        return (HookPath.DIRECT, *self.stacks)

    @property
    def disks(self) -> bool:
        """Whether it needs a guest with disks."""
        return "virtio_blk" in self.modules

    @property
    def mode(self) -> str:
        """How it is opened, and so what a shared mapping may become."""
        return "rw" if "w" in self.prot else "ro"

    @property
    def writable(self) -> bool:
        """Whether a shared mapping can be written to."""
        return "w" in self.prot and "shared" in self.flags


def _file(
    name: str,
    mount: str,
    *modules: str,
    symbols: tuple[str, ...],
    page_sized_blocks: bool = False,
) -> InTreeFile:
    """A file of four pages, all different, on a file system that is empty before."""
    return InTreeFile(
        name=name,
        hook=name,
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


def _on_disk(name: str, *, page_sized_blocks: bool = False) -> InTreeFile:
    """A file on a file system of a disk."""
    return _file(
        name,
        f"mount -t {name} $(disk {name})",
        "virtio_blk",
        name,
        symbols=(f"{name.upper()}_FS", "VIRTIO_BLK"),
        page_sized_blocks=page_sized_blocks,
    )


def _read_only(name: str, symbol: str) -> InTreeFile:
    """The file on a disk with a read-only file system."""
    return InTreeFile(
        name=name,
        hook=name,
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


_9P_MODULES = ("9pnet_virtio", "9p")
_9P_SYMBOLS = ("9P_FS", "NET_9P_VIRTIO")


def _mount_9p(version: str, cache: str) -> str:
    return f"mount -t 9p -o trans=virtio,version={version},cache={cache} {SHARED_TAG}"


def _nine(name: str, hook: str, version: str) -> InTreeFile:
    """A file on the host that the guest does not cache, and so cannot map to be written to."""
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
        hook="zero",
        steps=(f"open {LOW} /dev/zero",),
        stacks=stacks,
        symbols=(),
        flags=(flags,),
        seekable=False,
        one_memory=False,
    )


_STM_POLICY = "/sys/kernel/config/stp-policy/mmap_stm.test"

INTREE_FILES = (
    # A shared mapping has a file of shmem's own, which must stay in vm_file.
    _zero("shared", (HookPath.STACK, HookPath.STACK_FIRST, HookPath.THREE_LEVEL)),
    _zero("private", _ANY),
    InTreeFile(
        name="mem",
        hook="mem",
        steps=(f"open {LOW} /dev/mem",),
        stacks=_ANY,
        symbols=("DEVMEM",),
        seekable=False,
        fsync=False,
        flags=("shared",),
    ),
    InTreeFile(
        name="shmem",
        hook="shmem",
        steps=(f"memfd {LOW} 4p", *_DIFFERENT),
        stacks=SWITCHING,
        symbols=("MEMFD_CREATE",),
        pages=2,
        offset=1,
        shrinks=True,
    ),
    InTreeFile(
        name="secretmem",
        hook="secretmem",
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
    _file("ramfs", "mount -t ramfs none", symbols=()),
    _on_disk("ext2"),
    _on_disk("ext4"),
    _on_disk("xfs"),
    _on_disk("btrfs"),
    _on_disk("f2fs", page_sized_blocks=True),
    _read_only("squashfs", "SQUASHFS"),
    _read_only("erofs", "EROFS_FS"),
    _file("9p", _mount_9p("9p2000.L", "mmap"), *_9P_MODULES, symbols=_9P_SYMBOLS),
    # The same hook, which then lets nothing be written; and another one for the older protocol.
    _nine("9p-uncached", "9p", "9p2000.L"),
    _nine("9p-2000u", "9p-2000u", "9p2000.u"),
    InTreeFile(
        name="blkdev",
        hook="blkdev",
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
        hook="hpet",
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
        hook="relay",
        steps=(f"open {LOW} /sys/kernel/debug/mmap_relay/buffer0",),
        stacks=_ANY,
        symbols=("RELAY",),
        own_modules=("mmap_relay",),
        flags=("shared",),
        seekable=False,
        fsync=False,
    ),
    # Its open(), close() and mapped() take the file's own data out of vm_file. They get it
    # from a path that has switched vm_file before the hook runs, and from no other.
    InTreeFile(
        name="stm",
        hook="stm",
        steps=(f"open {LOW} /dev/mmap_stm", f"stm {LOW}"),
        stacks=(HookPath.STACK_FIRST,),
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


def set_up(guest: Guest, user: InTreeFile) -> Script:
    """Make the file ready until the end of the test; a script that has it open as LOW.

    The end fails when a reference has leaked: nothing can be unmounted or unloaded then.

    Raises:
        GuestCommandError: it cannot be mounted, say.
    """
    guest.load(MODULE)
    load = f"load {' '.join(user.modules)}"
    if user.own_modules:  # which stand on those of the kernel
        guest.session.check(["sh", "-ec", _SHELL + load])
        for module in user.own_modules:
            guest.load(module)
    if user.up:
        guest.session.check(["sh", "-ec", f"{_SHELL}{load}\n{user.up}"])
        guest.at_end(partial(guest.session.check, ["sh", "-ec", user.down]))
    script = Script()
    for line in user.steps:
        script.step(line)
    return script
