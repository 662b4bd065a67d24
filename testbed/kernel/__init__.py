# SPDX-License-Identifier: GPL-2.0
"""Source text to a bootable kernel with its modules and guest programs."""
