# SPDX-License-Identifier: GPL-2.0
"""Results and baselines refer to rows that are never removed without a constraint: it is slow."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_DROPPED = {
    "result": ("test", "signature", "observation"),
    "baseline": ("test", "observation"),
}


def upgrade() -> None:
    for table, columns in _DROPPED.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_constraint(f"fk_{table}_{column}", type_="foreignkey")
