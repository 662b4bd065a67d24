# SPDX-License-Identifier: GPL-2.0
"""Which lines of a series the tests run: `testbed coverage` (docs/coverage.md)."""
