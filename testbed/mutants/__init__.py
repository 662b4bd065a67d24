# SPDX-License-Identifier: GPL-2.0
"""Known-bad kernels: do the tests catch them?"""
