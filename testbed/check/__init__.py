# SPDX-License-Identifier: GPL-2.0
"""A driver of the user's own: what userspace can do to its mappings, and what must hold."""
