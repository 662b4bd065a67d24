# SPDX-License-Identifier: GPL-2.0
"""The search for the commit, or the patch of a series, that brought or removed a symptom."""
