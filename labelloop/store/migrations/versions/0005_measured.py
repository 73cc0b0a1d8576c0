"""Which labels agreement was measured on, so that only what changed since is measured again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: As before, with terms by which SQLite finds other revisions in an index: without statistics it looked through all of an
#: instance for each label (10,000 labels: 25 s). A sum keeps the comparison of ids from being taken for that.
_LABELS = """
CREATE VIEW labels AS
SELECT r.* FROM revisions r
JOIN tasks t ON t.instance = r.instance AND t.project_id = r.project_id AND t.task_id = r.task_id
WHERE t.deleted_at IS NULL AND r.kind = 'human' AND r.state = 'submitted' AND r.ground_truth = {false}
AND NOT EXISTS (
  SELECT 1 FROM revisions later
  WHERE later.instance = r.instance AND later.project_id = r.project_id AND later.annotation_id = r.annotation_id
  AND later.rev > r.rev
)
AND NOT EXISTS (
  SELECT 1 FROM revisions other
  WHERE other.instance = r.instance AND other.project_id = r.project_id AND other.task_id = r.task_id
  AND other.person_id = r.person_id AND other.annotation_id + 0 > r.annotation_id
  AND other.kind = 'human' AND other.state = 'submitted' AND other.ground_truth = {false}
  AND NOT EXISTS (
    SELECT 1 FROM revisions gone
    WHERE gone.instance = other.instance AND gone.project_id = other.project_id
    AND gone.annotation_id = other.annotation_id AND gone.rev > other.rev
  )
)
"""

_LABELS_BEFORE = """
CREATE VIEW labels AS
SELECT r.* FROM revisions r
JOIN tasks t ON t.instance = r.instance AND t.project_id = r.project_id AND t.task_id = r.task_id
WHERE t.deleted_at IS NULL AND r.kind = 'human' AND r.state = 'submitted' AND r.ground_truth = {false}
AND NOT EXISTS (
  SELECT 1 FROM revisions later
  WHERE later.instance = r.instance AND later.annotation_id = r.annotation_id AND later.rev > r.rev
)
AND NOT EXISTS (
  SELECT 1 FROM revisions other
  WHERE other.instance = r.instance AND other.project_id = r.project_id AND other.task_id = r.task_id
  AND other.person_id = r.person_id AND other.annotation_id > r.annotation_id
  AND other.kind = 'human' AND other.state = 'submitted' AND other.ground_truth = {false}
  AND NOT EXISTS (
    SELECT 1 FROM revisions gone
    WHERE gone.instance = other.instance AND gone.annotation_id = other.annotation_id AND gone.rev > other.rev
  )
)
"""


def upgrade() -> None:
    op.execute("DROP VIEW labels")
    op.execute(_LABELS.format(false=_false()))
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


def _false() -> str:
    return "0" if op.get_bind().dialect.name == "sqlite" else "false"


def downgrade() -> None:
    op.execute("DROP VIEW labels")
    op.execute(_LABELS_BEFORE.format(false=_false()))
    op.drop_index(op.f("ix_tasks_instance_project_id_deleted_at"), "tasks")
    op.drop_table("measured")
