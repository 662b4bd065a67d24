# SPDX-License-Identifier: GPL-2.0
"""The tables of the first histories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "lane",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("matrix", sa.String(), nullable=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("arch", sa.String(), nullable=False),
        sa.Column("flavour", sa.String(), nullable=False),
        sa.Column("isolation", sa.String(), nullable=False),
        sa.Column("accel", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lane")),
        sa.UniqueConstraint("key", name=op.f("uq_lane_key")),
    )
    op.create_table(
        "observation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("scripts", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observation")),
        sa.UniqueConstraint("digest", name=op.f("uq_observation_digest")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("matrix", sa.String(), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("started", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("name", name=op.f("uq_run_name")),
    )
    op.create_table(
        "signature",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signature")),
        sa.UniqueConstraint("digest", name=op.f("uq_signature_digest")),
    )
    op.create_table(
        "test",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("nodeid", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_test")),
        sa.UniqueConstraint("nodeid", name=op.f("uq_test_nodeid")),
    )
    op.create_table(
        "accepted",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("test", sa.Integer(), nullable=False),
        sa.Column("observation", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["lane"], ["lane.id"], name=op.f("fk_accepted_lane")),
        sa.ForeignKeyConstraint(
            ["observation"], ["observation.id"], name=op.f("fk_accepted_observation")
        ),
        sa.ForeignKeyConstraint(["test"], ["test.id"], name=op.f("fk_accepted_test")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accepted")),
    )
    with op.batch_alter_table("accepted") as batch_op:
        batch_op.create_index("ix_accepted_lane_test", ["lane", "test"], unique=False)

    op.create_table(
        "cell",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.Column("kernel", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("artifact", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["lane"], ["lane.id"], name=op.f("fk_cell_lane")),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name=op.f("fk_cell_run"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cell")),
        sa.UniqueConstraint("lane", "seq", name=op.f("uq_cell_lane_seq")),
        sa.UniqueConstraint("run", "lane", "content", name=op.f("uq_cell_run_lane_content")),
    )
    with op.batch_alter_table("cell") as batch_op:
        batch_op.create_index("ix_cell_content", ["content"], unique=False)

    op.create_table(
        "baseline",
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("test", sa.Integer(), nullable=False),
        sa.Column("observation", sa.Integer(), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cell"], ["cell.id"], name=op.f("fk_baseline_cell"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["lane"], ["lane.id"], name=op.f("fk_baseline_lane")),
        sa.ForeignKeyConstraint(
            ["observation"], ["observation.id"], name=op.f("fk_baseline_observation")
        ),
        sa.ForeignKeyConstraint(["test"], ["test.id"], name=op.f("fk_baseline_test")),
        sa.PrimaryKeyConstraint("lane", "test", name=op.f("pk_baseline")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "confirmation",
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cell"], ["cell.id"], name=op.f("fk_confirmation_cell"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cell", "content", name=op.f("pk_confirmation")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "result",
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("test", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("signature", sa.Integer(), nullable=True),
        sa.Column("observation", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cell"], ["cell.id"], name=op.f("fk_result_cell"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["observation"], ["observation.id"], name=op.f("fk_result_observation")
        ),
        sa.ForeignKeyConstraint(["signature"], ["signature.id"], name=op.f("fk_result_signature")),
        sa.ForeignKeyConstraint(["test"], ["test.id"], name=op.f("fk_result_test")),
        sa.PrimaryKeyConstraint("cell", "test", "attempt", name=op.f("pk_result")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("result") as batch_op:
        batch_op.create_index(
            "ix_result_unusual",
            ["cell", "status", "test"],
            unique=False,
            sqlite_where=sa.text("status <= 4"),
            postgresql_where=sa.text("status <= 4"),
        )

    op.create_table(
        "tally",
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cell"], ["cell.id"], name=op.f("fk_tally_cell"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cell", "path", "status", name=op.f("pk_tally")),
        sqlite_with_rowid=False,
    )
