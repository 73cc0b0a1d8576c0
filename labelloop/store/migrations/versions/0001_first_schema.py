"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from labelloop.store.types import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LABELS_VIEW = """
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
    op.create_table(
        "classes",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("control", sa.String(length=128), nullable=False),
        sa.Column("class_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("aliases", sa.JSON(), nullable=False),
        sa.Column("retired_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("instance", "project_id", "control", "class_id", name=op.f("pk_classes")),
    )
    op.create_table(
        "configs",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("config_hash", sa.String(length=64), nullable=False),
        sa.Column("seen_at", UtcTime(), nullable=False),
        sa.Column("xml", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "config_hash", name=op.f("pk_configs")),
    )
    op.create_table(
        "cursors",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=True),
        sa.Column("last_id", sa.Integer(), nullable=True),
        sa.Column("full_scan_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("instance", "project_id", "source", name=op.f("pk_cursors")),
    )
    op.create_table(
        "decisions",
        sa.Column(
            "decision_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_decisions")),
    )
    op.create_table(
        "instances",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("instance", name=op.f("pk_instances")),
    )
    op.create_table(
        "leases",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "kind", name=op.f("pk_leases")),
    )
    op.create_table(
        "outcomes",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_version", sa.String(length=128), nullable=False),
        sa.Column("task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("uncertainty", sa.Float(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "model_version", "task_id", name=op.f("pk_outcomes")),
    )
    op.create_table(
        "people",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("person_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen_at", UtcTime(), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "person_id", name=op.f("pk_people")),
    )
    op.create_table(
        "predictions",
        sa.Column(
            "prediction_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ls_prediction_id", sa.BigInteger(), nullable=True),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("model_version", sa.String(length=128), nullable=False),
        sa.Column("serving_id", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("uncertainty", sa.Float(), nullable=True),
        sa.Column("order_key", sa.Float(), nullable=False),
        sa.Column("order_reason", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("fired_rules", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_predictions")),
        sa.UniqueConstraint(
            "instance",
            "project_id",
            "serving_id",
            "task_id",
            name=op.f("uq_predictions_instance_project_id_serving_id_task_id"),
        ),
    )
    op.create_table(
        "projects",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("task_type", sa.String(length=64), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("label_config", sa.Text(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("holdout_threshold", sa.Float(), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("training_paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", name=op.f("pk_projects")),
    )
    op.create_table(
        "promotions",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("promotion_id", sa.String(length=128), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "promotion_id", "step", name=op.f("pk_promotions")),
    )
    op.create_table(
        "regions",
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("origin_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("item", sa.String(length=64), nullable=True),
        sa.Column("control", sa.String(length=128), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=True),
        sa.Column("region_id", sa.String(length=64), nullable=True),
        sa.Column("parent_region", sa.String(length=64), nullable=True),
        sa.Column("class_ids", sa.JSON(), nullable=True),
        sa.Column("x", sa.Float(), nullable=True),
        sa.Column("y", sa.Float(), nullable=True),
        sa.Column("w", sa.Float(), nullable=True),
        sa.Column("h", sa.Float(), nullable=True),
        sa.Column("rot", sa.Float(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("start", sa.Integer(), nullable=True),
        sa.Column("end", sa.Integer(), nullable=True),
        sa.Column("frame", sa.Integer(), nullable=True),
        sa.Column("num", sa.Float(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("points", sa.JSON(), nullable=True),
        sa.Column("rle", sa.JSON(), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_regions")),
    )
    op.create_index(
        op.f("ix_regions_instance_project_id_origin_origin_id"),
        "regions",
        ["instance", "project_id", "origin", "origin_id"],
        unique=False,
    )
    op.create_table(
        "revisions",
        sa.Column(
            "revision_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("rev_hash", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("ground_truth", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("seen_at", UtcTime(), nullable=False),
        sa.Column("lead_time_s", sa.Float(), nullable=True),
        sa.Column("parent_prediction", sa.BigInteger(), nullable=True),
        sa.Column("shown_serving_id", sa.String(length=128), nullable=True),
        sa.Column("config_hash", sa.String(length=64), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("revision_id", name=op.f("pk_revisions")),
        sa.UniqueConstraint(
            "instance",
            "annotation_id",
            "updated_at",
            "rev_hash",
            name=op.f("uq_revisions_instance_annotation_id_updated_at_rev_hash"),
        ),
    )
    op.create_index(
        op.f("ix_revisions_instance_project_id_annotation_id_rev"),
        "revisions",
        ["instance", "project_id", "annotation_id", "rev"],
        unique=False,
    )
    op.create_index(
        op.f("ix_revisions_instance_project_id_task_id"),
        "revisions",
        ["instance", "project_id", "task_id"],
        unique=False,
    )
    op.create_table(
        "serving",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=128), nullable=False),
        sa.Column("serving_id", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", name=op.f("pk_serving")),
    )
    op.create_table(
        "signals",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_version", sa.String(length=128), nullable=False),
        sa.Column("control", sa.String(length=128), nullable=False),
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("probs", sa.JSON(), nullable=True),
        sa.Column("embedding", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint(
            "instance", "project_id", "task_id", "model_version", "control", "item", name=op.f("pk_signals")
        ),
    )
    op.create_table(
        "tasks",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rev_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=True),
        sa.Column("updated_at", UtcTime(), nullable=True),
        sa.Column("deleted_at", UtcTime(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("group_key", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "task_id", name=op.f("pk_tasks")),
    )
    op.create_index(
        op.f("ix_tasks_instance_project_id_content_hash"),
        "tasks",
        ["instance", "project_id", "content_hash"],
        unique=False,
    )
    op.create_table(
        "trainings",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("training_id", sa.String(length=128), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("label_count", sa.Integer(), nullable=False),
        sa.Column("base_version", sa.String(length=128), nullable=True),
        sa.Column("candidate", sa.String(length=128), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("queued_at", UtcTime(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.Column("registered_at", UtcTime(), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "training_id", name=op.f("pk_trainings")),
    )
    false = "false" if op.get_bind().dialect.name == "postgresql" else "0"
    op.execute(LABELS_VIEW.format(false=false))


def downgrade() -> None:
    op.execute("DROP VIEW labels")
    op.drop_table("trainings")
    op.drop_index(op.f("ix_tasks_instance_project_id_content_hash"), table_name="tasks")
    op.drop_table("tasks")
    op.drop_table("signals")
    op.drop_table("serving")
    op.drop_index(op.f("ix_revisions_instance_project_id_task_id"), table_name="revisions")
    op.drop_index(op.f("ix_revisions_instance_project_id_annotation_id_rev"), table_name="revisions")
    op.drop_table("revisions")
    op.drop_index(op.f("ix_regions_instance_project_id_origin_origin_id"), table_name="regions")
    op.drop_table("regions")
    op.drop_table("promotions")
    op.drop_table("projects")
    op.drop_table("predictions")
    op.drop_table("people")
    op.drop_table("outcomes")
    op.drop_table("leases")
    op.drop_table("instances")
    op.drop_table("decisions")
    op.drop_table("cursors")
    op.drop_table("configs")
    op.drop_table("classes")
