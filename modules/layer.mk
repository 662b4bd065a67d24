# SPDX-License-Identifier: GPL-2.0
# What the kernel has of the compatibility layer, by the headers that declare it.
# A module for which something is missing is left out (testbed/kernel/modules.py).

# A driver may run a hook of its own between the two halves of the layer.
layer-nests := $(if $(shell grep -w __compat_vma_mmap $(srctree)/include/linux/fs.h),y)
# A UIO driver's own hook is an mmap_prepare.
layer-uio := $(if $(shell grep -w mmap_prepare $(srctree)/include/linux/uio_driver.h),y)
