# SPDX-License-Identifier: GPL-2.0
"""A driver testbed for the mmap hooks of Linux."""
