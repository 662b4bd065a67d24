# SPDX-License-Identifier: GPL-2.0
"""Checks a user's driver: operations of userspace on its mappings, and their invariants."""
