# SPDX-License-Identifier: GPL-2.0
"""The results of runs in the formats of other tools (docs/formats.md)."""
