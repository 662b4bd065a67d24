# SPDX-License-Identifier: GPL-2.0
"""Many kernels in one night: a matrix of cells, and where they run (docs/nightly.md)."""
