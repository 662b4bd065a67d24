# SPDX-License-Identifier: GPL-2.0
"""Reports for people: tables of one run, and of the differences between two runs."""
