# SPDX-License-Identifier: GPL-2.0
"""Many kernels, many runs: what stands ready for the tests, and what became of it."""
