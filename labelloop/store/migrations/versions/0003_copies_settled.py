"""Copies of what people were shown, how far reading is settled, and an index for the tasks of a span of time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from labelloop.store.types import UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PLACE = "uq_predictions_instance_project_id_serving_id_task_id"
_COPY = "uq_predictions_instance_project_id_ls_prediction_id_created_at"


def _unique_where(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "predictions", columns, unique=True, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    # One task may have several copies of one version (Label Studio never replaces); a place in the queue it has once.
    with op.batch_alter_table("predictions") as table:
        table.drop_constraint(_PLACE, type_="unique")
        table.alter_column("order_key", existing_type=sa.Float(), nullable=True)
    place = ["instance", "project_id", "serving_id", "task_id"]
    _unique_where(_PLACE, place, "ls_prediction_id IS NULL")
    copy = ["instance", "project_id", "ls_prediction_id", "created_at"]
    _unique_where(_COPY, copy, "ls_prediction_id IS NOT NULL")
    with op.batch_alter_table("cursors") as table:
        table.add_column(sa.Column("settled_at", UtcTime(), nullable=True))
    op.create_index(
        op.f("ix_tasks_instance_project_id_updated_at"), "tasks", ["instance", "project_id", "updated_at"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_tasks_instance_project_id_updated_at"), table_name="tasks")
    with op.batch_alter_table("cursors") as table:
        table.drop_column("settled_at")
    op.drop_index(_COPY, table_name="predictions")
    op.drop_index(_PLACE, table_name="predictions")
    op.execute("DELETE FROM predictions WHERE ls_prediction_id IS NOT NULL")
    with op.batch_alter_table("predictions") as table:
        table.alter_column("order_key", existing_type=sa.Float(), nullable=False)
        table.create_unique_constraint(_PLACE, ["instance", "project_id", "serving_id", "task_id"])
