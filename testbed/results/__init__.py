# SPDX-License-Identifier: GPL-2.0
"""What a run found, and its file formats."""
