# SPDX-License-Identifier: GPL-2.0
"""What nights have seen: runs, cells, results, and their classes (docs/history.md)."""
