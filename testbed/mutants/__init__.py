# SPDX-License-Identifier: GPL-2.0
"""Known-bad kernels, and whether the tests catch them."""
