# SPDX-License-Identifier: GPL-2.0
"""The mmap_prepare hooks of the kernel's files, and why some are not reached.

Each hook is one initialiser of file_operations in Linux 7.3. The names are ours. This table does
not record which hooks a run reaches: the tests declare that with the marker `reaches`.
"""

from __future__ import annotations

from dataclasses import dataclass

# Hooks that several file systems share (mm/filemap.c).
_GENERIC = "generic_file_mmap_prepare"
_READONLY = "generic_file_readonly_mmap_prepare"

_NO_DISK = "the testbed makes no disk with this file system"
_NO_FLASH = "needs flash memory"
_NO_HARDWARE = "needs hardware that QEMU does not emulate"
_NO_MMU = "only without an MMU"
_NO_SERVER = "the guest lacks its server"


@dataclass(frozen=True)
class Hook:
    """One mmap_prepare hook."""

    name: str
    function: str
    file: str  # in the kernel source
    why_not: str = ""  # why it is not reached, or only directly


HOOKS = (
    Hook("shmem", "shmem_mmap_prepare", "mm/shmem.c"),
    Hook("secretmem", "secretmem_mmap_prepare", "mm/secretmem.c"),
    Hook("ramfs", _GENERIC, "fs/ramfs/file-mmu.c"),
    Hook("zero", "mmap_zero_prepare", "drivers/char/mem.c"),
    Hook("mem", "mmap_mem_prepare", "drivers/char/mem.c"),
    Hook(
        "aio",
        "aio_ring_mmap_prepare",
        "fs/aio.c",
        "not stacked: the kernel maps it itself, without a file that could be stacked",
    ),
    Hook("blkdev", "blkdev_mmap_prepare", "block/fops.c"),
    Hook("hpet", "hpet_mmap_prepare", "drivers/char/hpet.c"),
    Hook("relay", "relay_file_mmap_prepare", "kernel/relay.c"),
    Hook("stm", "stm_char_mmap_prepare", "drivers/hwtracing/stm/core.c"),
    Hook("ext2", _GENERIC, "fs/ext2/file.c"),
    Hook("ext4", "ext4_file_mmap_prepare", "fs/ext4/file.c"),
    Hook("xfs", "xfs_file_mmap_prepare", "fs/xfs/xfs_file.c"),
    Hook("btrfs", "btrfs_file_mmap_prepare", "fs/btrfs/file.c"),
    Hook("f2fs", "f2fs_file_mmap_prepare", "fs/f2fs/file.c"),
    Hook("squashfs", _READONLY, "fs/squashfs/file.c"),
    Hook("erofs", "erofs_file_mmap_prepare", "fs/erofs/data.c"),
    Hook("9p", "v9fs_file_mmap_prepare", "fs/9p/vfs_file.c"),
    Hook("9p-2000u", _READONLY, "fs/9p/vfs_file.c"),
    Hook(
        "open-dice",
        "open_dice_mmap_prepare",
        "drivers/misc/open-dice.c",
        "needs a reserved area in the device tree of the virt machine",
    ),
    Hook(
        "device-dax", "dax_mmap_prepare", "drivers/dax/device.c", "needs an NVDIMM and ZONE_DEVICE"
    ),
    Hook("mtdchar", "mtdchar_mmap_prepare", "drivers/mtd/mtdchar.c", "always -ENODEV with an MMU"),
    Hook(
        "vme_user",
        "vme_user_mmap_prepare",
        "drivers/staging/vme_user/vme_user.c",
        "the only emulated bus has no resource to map",
    ),
    Hook("resctrl", "pseudo_lock_dev_mmap_prepare", "fs/resctrl/pseudo_lock.c", _NO_HARDWARE),
    Hook("vboxsf", "vboxsf_file_mmap_prepare", "fs/vboxsf/file.c", _NO_HARDWARE),
    Hook("hostfs", _GENERIC, "fs/hostfs/hostfs_kern.c", "User Mode Linux only"),
    Hook("romfs-nommu", "romfs_mmap_prepare", "fs/romfs/mmap-nommu.c", _NO_MMU),
    Hook("ramfs-nommu", "ramfs_nommu_mmap_prepare", "fs/ramfs/file-nommu.c", _NO_MMU),
    Hook("generic-ro", _READONLY, "fs/read_write.c", _NO_DISK),
    Hook("fat", _GENERIC, "fs/fat/file.c", _NO_DISK),
    Hook("exfat", "exfat_file_mmap_prepare", "fs/exfat/file.c", _NO_DISK),
    Hook("hfs", _GENERIC, "fs/hfs/inode.c", _NO_DISK),
    Hook("hfsplus", _GENERIC, "fs/hfsplus/inode.c", _NO_DISK),
    Hook("hpfs", _GENERIC, "fs/hpfs/file.c", _NO_DISK),
    Hook("jfs", _GENERIC, "fs/jfs/file.c", _NO_DISK),
    Hook("minix", _GENERIC, "fs/minix/file.c", _NO_DISK),
    Hook("bfs", _GENERIC, "fs/bfs/file.c", _NO_DISK),
    Hook("ufs", _GENERIC, "fs/ufs/file.c", _NO_DISK),
    Hook("omfs", _GENERIC, "fs/omfs/file.c", _NO_DISK),
    Hook("adfs", _GENERIC, "fs/adfs/file.c", _NO_DISK),
    Hook("affs", _GENERIC, "fs/affs/file.c", _NO_DISK),
    Hook("nilfs2", "nilfs_file_mmap_prepare", "fs/nilfs2/file.c", _NO_DISK),
    Hook("ntfs3", "ntfs_file_mmap_prepare", "fs/ntfs3/file.c", _NO_DISK),
    Hook("ntfs", "ntfs_file_mmap_prepare", "fs/ntfs/file.c", _NO_DISK),
    Hook("zonefs", "zonefs_file_mmap_prepare", "fs/zonefs/file.c", "needs a zoned disk"),
    Hook("jffs2", _READONLY, "fs/jffs2/file.c", _NO_FLASH),
    Hook("ubifs", "ubifs_file_mmap_prepare", "fs/ubifs/file.c", _NO_FLASH),
    Hook("ocfs2", "ocfs2_mmap_prepare", "fs/ocfs2/file.c", _NO_SERVER),
    Hook("ocfs2-nolock", "ocfs2_mmap_prepare", "fs/ocfs2/file.c", _NO_SERVER),
    Hook("nfs", "nfs_file_mmap_prepare", "fs/nfs/file.c", _NO_SERVER),
    Hook("nfs4", "nfs_file_mmap_prepare", "fs/nfs/nfs4file.c", _NO_SERVER),
    Hook("cifs", "cifs_file_mmap_prepare", "fs/smb/client/cifsfs.c", _NO_SERVER),
    Hook("cifs-strict", "cifs_file_strict_mmap_prepare", "fs/smb/client/cifsfs.c", _NO_SERVER),
    Hook("cifs-direct", "cifs_file_mmap_prepare", "fs/smb/client/cifsfs.c", _NO_SERVER),
    Hook("cifs-nobrl", "cifs_file_mmap_prepare", "fs/smb/client/cifsfs.c", _NO_SERVER),
    Hook(
        "cifs-strict-nobrl", "cifs_file_strict_mmap_prepare", "fs/smb/client/cifsfs.c", _NO_SERVER
    ),
    Hook("cifs-direct-nobrl", "cifs_file_mmap_prepare", "fs/smb/client/cifsfs.c", _NO_SERVER),
    Hook("ceph", "ceph_mmap_prepare", "fs/ceph/file.c", _NO_SERVER),
    Hook("orangefs", "orangefs_file_mmap_prepare", "fs/orangefs/file.c", _NO_SERVER),
    Hook("afs", "afs_file_mmap_prepare", "fs/afs/file.c", _NO_SERVER),
)
