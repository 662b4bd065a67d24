# SPDX-License-Identifier: GPL-2.0
"""Scenarios of mmap, their execution in a guest, and the rules for their results."""
