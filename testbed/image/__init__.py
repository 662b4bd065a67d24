# SPDX-License-Identifier: GPL-2.0
"""From a kernel and guest programs to an initramfs that QEMU boots.

keys       the host key of a guest, and the client key that may log in
userland   the few files of Debian's packages that a guest needs
cpio       archives from lists of files, by the kernel's own gen_init_cpio
initramfs  the whole image, through the cache
disks      disks with file systems, made by the host's programs
"""

from testbed.image.disks import Disk, build_disks
from testbed.image.initramfs import Image, build_image

__all__ = ["Disk", "Image", "build_disks", "build_image"]
