# SPDX-License-Identifier: GPL-2.0
"""The results of a run, and their file formats."""
