# SPDX-License-Identifier: GPL-2.0
# Finds in the kernel's headers which parts of the compatibility layer exist.
# A module that needs a missing part is left out (testbed/kernel/modules.py).

# A driver can run its own hook between the two halves of the layer.
layer-nests := $(if $(shell grep -w __compat_vma_mmap $(srctree)/include/linux/fs.h),y)
# A UIO driver can have an mmap_prepare hook.
layer-uio := $(if $(shell grep -w mmap_prepare $(srctree)/include/linux/uio_driver.h),y)
