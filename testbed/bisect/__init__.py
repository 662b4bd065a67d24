# SPDX-License-Identifier: GPL-2.0
"""Which commit, or which patch of a series, brought a symptom, or took it away."""
