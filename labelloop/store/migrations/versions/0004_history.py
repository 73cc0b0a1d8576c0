"""Classes that change, hash chains with their ends, decisions about single labels, and tombstones of forgotten tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from labelloop.store.types import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FOLLOWS = "uq_decisions_instance_project_id_previous_hash"


def _scope() -> list[sa.Column[object]]:
    return [
        sa.Column("instance", sa.String(36), primary_key=True, nullable=False),
        sa.Column("project_id", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
    ]


def upgrade() -> None:
    with op.batch_alter_table("classes") as table:
        table.add_column(sa.Column("place", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("in_config", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("became", sa.JSON(), nullable=True))
    op.execute("UPDATE classes SET place = class_id")
    with op.batch_alter_table("decisions") as table:
        table.add_column(sa.Column("annotation_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("rev_hash", sa.String(64), nullable=True))
        table.add_column(sa.Column("reason_hash", sa.String(64), nullable=False, server_default=""))
        table.create_unique_constraint(_FOLLOWS, ["instance", "project_id", "previous_hash"])
        table.create_index(op.f("ix_decisions_instance_project_id_task_id"), ["instance", "project_id", "task_id"])
    op.create_table(
        "schema_versions",
        *_scope(),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("change", sa.JSON(), nullable=False),
        sa.Column("config_hash", sa.String(64), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("assigned_hash", sa.String(64), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "number", name=op.f("pk_schema_versions")),
    )
    op.create_table(
        "class_assignments",
        *_scope(),
        sa.Column("task_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("annotation_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("region_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("control", sa.String(128), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "instance", "project_id", "task_id", "annotation_id", "region_id", "number",
            name=op.f("pk_class_assignments"),
        ),
    )  # fmt: skip
    op.create_table(
        "chains",
        *_scope(),
        sa.Column("chain", sa.String(32), primary_key=True),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("instance", "project_id", "chain", name=op.f("pk_chains")),
    )
    op.create_table(
        "forgotten",
        *_scope(),
        sa.Column("task_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("asked_at", UtcTime(), primary_key=True),
        sa.Column("created_at", UtcTime(), nullable=True),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("instance", "project_id", "task_id", "asked_at", name=op.f("pk_forgotten")),
    )


def downgrade() -> None:
    for name in ("forgotten", "chains", "class_assignments", "schema_versions"):
        op.drop_table(name)
    with op.batch_alter_table("decisions") as table:
        table.drop_index(op.f("ix_decisions_instance_project_id_task_id"))
        table.drop_constraint(_FOLLOWS, type_="unique")
        for column in ("reason_hash", "rev_hash", "annotation_id"):
            table.drop_column(column)
    with op.batch_alter_table("classes") as table:
        for column in ("became", "in_config", "place"):
            table.drop_column(column)
