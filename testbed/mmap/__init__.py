# SPDX-License-Identifier: GPL-2.0
"""The subject: what is asked of a mapping, and what must be true of it."""
