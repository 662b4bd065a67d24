# SPDX-License-Identifier: GPL-2.0
"""The kernel's own stacks that serve files, and their setup in a guest.

Each stack has a base file system of its own, in FOLDER. One file is made on it before anything is
mounted over it: FILE_PAGES pages, all FILL.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed.lab.guest import Guest
from testbed.process import find_tool, run

FOLDER = "/tmp/stack"
FILE_PAGES = 4
FILL = 0x77

_IMAGE = "/tmp/ext4.img"
_IMAGE_BYTES = 8 << 20
_LOOP = "/dev/loop0"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One file system over another. Paths are relative to FOLDER."""

    modules: tuple[str, ...]
    symbol: str  # of the kernel's configuration
    at: str  # where its files are
    up: str  # shell lines that mount it
    down: str  # shell lines that unmount it, and wait for its server to end


def overlay(at: str, lower: str, upper: str) -> Layer:
    """Return overlayfs of two folders. The upper folder's file system must be writable."""
    options = f"lowerdir={lower},upperdir={upper},workdir=base/work-{at}"
    return Layer(
        modules=("overlay",),
        symbol="OVERLAY_FS",
        at=at,
        up=f"mkdir -p {at} {lower} {upper} base/work-{at}; mount -t overlay -o {options} none {at}",
        down=f"umount {at}",
    )


def fuse(at: str, folder: str, *, depth: int = 1) -> Layer:
    """Return a FUSE file system with passthrough to the files of a folder.

    `depth` is the highest permitted stack depth of the folder's file system, plus one.
    """
    return Layer(
        modules=("fuse",),
        symbol="FUSE_PASSTHROUGH",
        at=at,
        up=f"mkdir -p {at}; fuse start {at} {folder} {depth} >{at}.pid",
        down=f"fuse stop {at} $(cat {at}.pid)",
    )


def coda(at: str, folder: str) -> Layer:
    """Return a Coda file system whose container files are the files of a folder."""
    return Layer(
        modules=("coda",),
        symbol="CODA_FS",
        at=at,
        up=f"mkdir -p {at}; venus start {at} {folder} >{at}.pid",
        down=f"venus stop {at} $(cat {at}.pid)",
    )


@dataclass(frozen=True, kw_only=True)
class FileStack:
    """Layers over a file system, the lowest first. The last one serves the file."""

    name: str
    layers: tuple[Layer, ...]
    home: str = "base"  # the folder that really holds the file
    base: str = "tmpfs"
    writable: bool = True  # a write reaches `home`, not a copy
    shows: str = ""  # the folder in the path that maps shows, if not the top layer's
    held: int = 0  # references to the open file that a mapping takes besides vm_file's

    def __str__(self) -> str:
        return self.name

    @property
    def above(self) -> str:
        """The path of the file in the top layer."""
        return f"{FOLDER}/{self.layers[-1].at}/file"

    @property
    def below(self) -> str:
        """The path of the same file in the folder that really holds it."""
        return f"{FOLDER}/{self.home}/file"

    @property
    def shown(self) -> str:
        """The path that /proc/PID/maps shows."""
        return f"{FOLDER}/{self.shows}/file" if self.shows else self.above

    @property
    def hook(self) -> str:
        """The hook at the bottom, as `testbed hooks` names it."""
        return {
            "tmpfs": "mm/shmem.c:shmem_file_operations",
            "ext4": "fs/ext4/file.c:ext4_file_operations",
        }[self.base]

    @property
    def symbols(self) -> tuple[str, ...]:
        base = {"ext4": ("EXT4_FS", "BLK_DEV_LOOP")}.get(self.base, ())
        return (*base, *(layer.symbol for layer in self.layers))


_INNER = overlay("one", "base/lower", "base/upper")

FILE_STACKS = (
    FileStack(name="overlay-tmpfs", layers=(_INNER,), home="base/upper"),
    FileStack(name="overlay-ext4", layers=(_INNER,), home="base/upper", base="ext4"),
    # When a file is opened for writing, the outer overlay copies it up from the inner one.
    FileStack(
        name="overlay-overlay",
        layers=(_INNER, overlay("two", "one", "base/upper-two")),
        home="base/upper",
        writable=False,
    ),
    FileStack(name="fuse-tmpfs", layers=(fuse("one", "base"),)),
    FileStack(name="fuse-ext4", layers=(fuse("one", "base"),), base="ext4"),
    FileStack(name="fuse-overlay", layers=(_INNER, fuse("two", "one", depth=2)), home="base/upper"),
    FileStack(
        name="overlay-fuse",
        layers=(fuse("one", "base/home"), overlay("two", "one", "base/upper")),
        home="base/home",
        writable=False,
    ),
    # Coda stores the container itself in vm_file, not a backing file, and keeps its own file open
    # for close() (fs/coda/file.c, coda_file_mmap()). Not on tmpfs: KD34.
    FileStack(name="coda-ext4", layers=(coda("one", "base"),), base="ext4", shows="base", held=1),
    FileStack(
        name="coda-overlay",
        layers=(_INNER, coda("two", "one")),
        home="base/upper",
        shows="one",
        held=1,
    ),
)


def set_up(guest: Guest, stack: FileStack) -> None:
    """Mount a stack with its file until the end of the test.

    The end of the test fails if a reference has leaked: then unmounting fails, or a module is
    still in use.
    """
    if stack.base == "ext4":
        _bring_image(guest)
    guest.at_end(partial(_shell, guest, _down(guest, stack)))
    _shell(guest, _up(guest, stack))


def stacked(stack: FileStack) -> list[str]:
    """Return the modules of a stack's layers, the lowest first, each once."""
    return list(dict.fromkeys(module for layer in stack.layers for module in layer.modules))


def _up(guest: Guest, stack: FileStack) -> str:
    mount = {
        "tmpfs": "mount -t tmpfs tmpfs base",
        # In two steps: with `mount -o loop` the device stays open for writing, and the mount fails.
        "ext4": f"modprobe loop; modprobe ext4; losetup {_LOOP} {_IMAGE}; mount {_LOOP} base",
    }[stack.base]
    length = f"{FILE_PAGES}p"
    make = (
        f"open f {stack.below} rw create",
        f"ftruncate f {length}",
        f"pwrite f off=0 len={length} value={FILL:#x}",
    )
    lines = [f"modprobe {module}" for module in _loadable(guest, stack)]
    lines += [f"mkdir -p {FOLDER}/base", f"cd {FOLDER}", mount, f"mkdir -p {stack.home}"]
    lines += ["probe >file.made <<END", *make, "END"]
    lines += [layer.up for layer in stack.layers]
    return "\n".join(lines)


def _down(guest: Guest, stack: FileStack) -> str:
    lines = [f"cd {FOLDER}", *(layer.down for layer in reversed(stack.layers)), "umount base"]
    lines += ["cd /", f"rm -r {FOLDER}"]
    lines += [f"modprobe -r {module}" for module in reversed(_loadable(guest, stack))]
    return "\n".join(lines)


def _loadable(guest: Guest, stack: FileStack) -> list[str]:
    kernel = guest.prepared.kernel
    symbols = {"overlay": "OVERLAY_FS", "fuse": "FUSE_FS", "coda": "CODA_FS"}
    return [module for module in stacked(stack) if kernel.symbol(symbols[module]) == "m"]


def _shell(guest: Guest, lines: str) -> None:
    guest.session.check(["sh", "-ec", lines])


def _bring_image(guest: Guest) -> None:
    """Put an empty ext4 file system into the guest. It is compressed: most of it is zeros."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        run([find_tool("mke2fs", package="e2fsprogs"), "-q", "-t", "ext4", image])
        content = gzip.compress(image.read_bytes(), mtime=0)
    guest.session.put(content, f"{_IMAGE}.gz")
    _shell(guest, f"busybox gunzip -f {_IMAGE}.gz")
    guest.at_end(partial(_shell, guest, f"losetup -d {_LOOP}; rm {_IMAGE}"))
