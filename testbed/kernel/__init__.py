# SPDX-License-Identifier: GPL-2.0
"""Build a bootable kernel, its modules and the guest programs from source text."""
