# SPDX-License-Identifier: GPL-2.0
"""The lab: prepared kernels, the guests that run them, and templates for clones."""
