# SPDX-License-Identifier: GPL-2.0
"""The measurements of scripts/bench, and their presentation."""
