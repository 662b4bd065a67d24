# SPDX-License-Identifier: GPL-2.0
"""A kernel's guest programs to an initramfs that QEMU boots.

keys      who the guest is (host key) and who may enter it (client key)
userland  Debian's packages to the few files that a guest needs
cpio      lists of files to archives, by the kernel's own gen_init_cpio
build     all of it, through the cache
disks     file systems on disks, made by the host's programs
"""

from testbed.image.disks import Disk, build_disks
from testbed.image.initramfs import Image, build_image

__all__ = ["Disk", "Image", "build_disks", "build_image"]
