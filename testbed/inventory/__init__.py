# SPDX-License-Identifier: GPL-2.0
"""The mmap hooks that a kernel's text has: found, described and counted without building it."""
