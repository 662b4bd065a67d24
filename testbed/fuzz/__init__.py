# SPDX-License-Identifier: GPL-2.0
"""Generated programs, compared across paths (docs/fuzz.md)."""
