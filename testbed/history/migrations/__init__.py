# SPDX-License-Identifier: GPL-2.0
"""The versions of a history's tables, for Alembic."""
