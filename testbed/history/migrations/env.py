# SPDX-License-Identifier: GPL-2.0
"""Alembic runs this file for each of its commands."""

from __future__ import annotations

from alembic import context

from testbed.history.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite cannot alter a table: Alembic copies it
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
