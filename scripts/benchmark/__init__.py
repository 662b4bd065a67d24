# SPDX-License-Identifier: GPL-2.0
"""What scripts/bench measures, and how it shows it."""
