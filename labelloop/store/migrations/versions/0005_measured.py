"""Which labels agreement was measured on, so that only what changed since is measured again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measured",
        sa.Column("instance", sa.String(36), primary_key=True, nullable=False),
        sa.Column("project_id", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("task_id", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("rev_hash", sa.String(64), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "task_id", name=op.f("pk_measured")),
    )
    op.create_index(op.f("ix_measured_instance_project_id_score"), "measured", ["instance", "project_id", "score"])
    op.create_index(op.f("ix_tasks_instance_project_id_deleted_at"), "tasks", ["instance", "project_id", "deleted_at"])
    op.create_index(
        op.f("ix_revisions_instance_project_id_revision_id"), "revisions", ["instance", "project_id", "revision_id"]
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_revisions_instance_project_id_revision_id"), "revisions")
    op.drop_index(op.f("ix_tasks_instance_project_id_deleted_at"), "tasks")
    op.drop_table("measured")
