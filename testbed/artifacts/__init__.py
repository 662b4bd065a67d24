# SPDX-License-Identifier: GPL-2.0
"""The files of cells: kept by content, in a folder or anywhere else that fsspec reaches."""
