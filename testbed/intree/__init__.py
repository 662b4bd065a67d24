# SPDX-License-Identifier: GPL-2.0
"""The kernel's own files, stacks and hooks, and how a guest reaches each."""
