# SPDX-License-Identifier: GPL-2.0
"""The kernel's own files, stacks and hooks, and their setup in a guest."""
