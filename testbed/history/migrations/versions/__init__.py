# SPDX-License-Identifier: GPL-2.0
"""Each file brings the tables of a history to a version."""
