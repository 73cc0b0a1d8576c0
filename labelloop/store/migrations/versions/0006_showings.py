"""Classes whose suggestions slow people down are shown no longer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from labelloop.store.types import UtcTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "showings",
        sa.Column("showing_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True),
        sa.Column("instance", sa.String(36), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("control", sa.String(128), nullable=False),
        sa.Column("class_name", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("showing_id", name=op.f("pk_showings")),
    )
    op.create_index(op.f("ix_showings_instance_project_id"), "showings", ["instance", "project_id"])


def downgrade() -> None:
    op.drop_table("showings")
