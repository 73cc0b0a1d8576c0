"""The tables of the store. Rows of history are only added; tables whose rows change are marked MUTABLE."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from labelloop.store.columns import RowId, scope_columns, unique_where
from labelloop.store.types import UtcTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

instances = Table("instances", metadata, Column("instance", String(36), primary_key=True), Column("made_at", UtcTime))

# MUTABLE: settings of the project, and what the first import decided once.
projects = Table(
    "projects",
    metadata,
    *scope_columns(key=True),
    Column("title", Text, nullable=False),
    Column("task_type", String(64), nullable=False),
    Column("backend", String(64), nullable=False),
    Column("label_config", Text, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("holdout_threshold", Float),
    Column("settings", JSON, nullable=False),
    Column("training_paused", Boolean, nullable=False, default=False),
    Column("created_at", UtcTime, nullable=False),
)

# MUTABLE: a task's latest state as Label Studio reports it; role, group and content are decided once at ingest.
tasks = Table(
    "tasks",
    metadata,
    *scope_columns(key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("rev_hash", String(64), nullable=False),
    Column("created_at", UtcTime),
    Column("updated_at", UtcTime),
    Column("deleted_at", UtcTime),
    Column("data", JSON, nullable=False),
    Column("meta", JSON, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("group_key", String(128), nullable=False),
    Column("role", String(16), nullable=False),
    Index(None, "instance", "project_id", "content_hash"),
    Index(None, "instance", "project_id", "updated_at"),
    Index(None, "instance", "project_id", "deleted_at"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("revision_id", RowId, primary_key=True, autoincrement=True),
    *scope_columns(key=False),
    Column("annotation_id", Integer, nullable=False),
    Column("task_id", Integer, nullable=False),
    Column("rev", Integer, nullable=False),
    Column("rev_hash", String(64), nullable=False),
    Column("person_id", Integer),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("ground_truth", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("lead_time_s", Float),
    Column("parent_prediction", BigInteger),
    Column("shown_serving_id", String(128)),
    Column("config_hash", String(64), nullable=False),
    Column("result", JSON, nullable=False),
    UniqueConstraint("instance", "annotation_id", "updated_at", "rev_hash"),
    Index(None, "instance", "project_id", "task_id"),
    Index(None, "instance", "project_id", "annotation_id", "rev"),
)

# What one model version said of one task: made once, ranked as often as needed.
outcomes = Table(
    "outcomes",
    metadata,
    *scope_columns(key=True),
    Column("model_version", String(128), primary_key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("created_at", UtcTime, nullable=False),
    Column("status", String(32), nullable=False),
    Column("confidence", Float),
    Column("uncertainty", Float),
    Column("result", JSON, nullable=False),
    Column("fired_rules", JSON),
)

# Two kinds of rows. Without `ls_prediction_id`: a task's place in the queue of one serving id, as we want it served. With:
# the copy of a prediction that a label began from, as Label Studio held it (`order_key` is its score there).
_IS_PLACE, _IS_COPY = text("ls_prediction_id IS NULL"), text("ls_prediction_id IS NOT NULL")
predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", RowId, primary_key=True, autoincrement=True),
    *scope_columns(key=False),
    Column("ls_prediction_id", BigInteger),
    Column("task_id", Integer, nullable=False),
    Column("model_version", String(128), nullable=False),
    Column("serving_id", String(128), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("confidence", Float),
    Column("uncertainty", Float),
    Column("order_key", Float),
    Column("order_reason", String(16), nullable=False),
    Column("status", String(32), nullable=False),
    Column("result", JSON, nullable=False),
    Column("fired_rules", JSON),
    unique_where(_IS_PLACE, "instance", "project_id", "serving_id", "task_id"),
    unique_where(_IS_COPY, "instance", "project_id", "ls_prediction_id", "created_at"),
)

signals = Table(
    "signals",
    metadata,
    *scope_columns(key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("model_version", String(128), primary_key=True),
    Column("control", String(128), primary_key=True),
    Column("item", String(64), primary_key=True),
    Column("probs", JSON),
    Column("embedding", JSON),
)

# MUTABLE: the classes as they stand. An id is never given to another class; `place` is the order of first appearance.
# `became`: null while labels are its own, [] retired, [id] merged into that class, several ids: split into those.
classes = Table(
    "classes",
    metadata,
    *scope_columns(key=True),
    Column("control", String(128), primary_key=True),
    Column("class_id", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("aliases", JSON, nullable=False),
    Column("in_config", Boolean, nullable=False),
    Column("became", JSON(none_as_null=True)),
    Column("retired_at", UtcTime),
)

# Every state that the classes had, hash-chained.
schema_versions = Table(
    "schema_versions",
    metadata,
    *scope_columns(key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("by", String(64), nullable=False),
    Column("change", JSON, nullable=False),
    Column("config_hash", String(64), nullable=False),
    Column("classes", JSON, nullable=False),
    Column("assigned_hash", String(64), nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

# The class of single regions whose class was split; annotation 0 means any. The highest schema number holds.
class_assignments = Table(
    "class_assignments",
    metadata,
    *scope_columns(key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("annotation_id", Integer, primary_key=True, autoincrement=False),
    Column("region_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("control", String(128), nullable=False),
    Column("class_id", Integer, nullable=False),
)

configs = Table(
    "configs",
    metadata,
    *scope_columns(key=True),
    Column("config_hash", String(64), primary_key=True),
    Column("seen_at", UtcTime, nullable=False),
    Column("xml", Text, nullable=False),
)

# MUTABLE: the pseudonym may be given later.
people = Table(
    "people",
    metadata,
    *scope_columns(key=True),
    Column("person_id", Integer, primary_key=True, autoincrement=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("pseudonym", String(64), nullable=False),
)

# Hash-chained. `reason_hash` is in the chain in place of the reason, so that a reason can be forgotten. The unique key
# lets no row follow two others.
decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", RowId, primary_key=True, autoincrement=True),
    *scope_columns(key=False),
    Column("task_id", Integer, nullable=False),
    Column("annotation_id", Integer),
    Column("rev_hash", String(64)),
    Column("stage", String(32), nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("reason_hash", String(64), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("instance", "project_id", "previous_hash"),
    Index(None, "instance", "project_id", "task_id"),
)

# MUTABLE: the end of each hash chain, so that rows missing at the end are seen.
chains = Table(
    "chains",
    metadata,
    *scope_columns(key=True),
    Column("chain", String(32), primary_key=True),
    Column("length", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)

# Tasks whose content is erased for good; MUTABLE until `finished_at`. `created_at` tells the task from a later one that
# Label Studio gives the same id.
forgotten = Table(
    "forgotten",
    metadata,
    *scope_columns(key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("asked_at", UtcTime, primary_key=True),
    Column("created_at", UtcTime),
    Column("content_hash", String(64), nullable=False),
    Column("finished_at", UtcTime),
)

# MUTABLE until the outcome is known. `cancel_asked`: who wants it to end, and why.
trainings = Table(
    "trainings",
    metadata,
    *scope_columns(key=True),
    Column("training_id", String(128), primary_key=True),
    Column("dataset_id", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("label_count", Integer, nullable=False),
    Column("base_version", String(128)),
    Column("candidate", String(128)),
    Column("path", Text),
    Column("digest", String(64)),
    Column("outcome", String(16)),
    Column("reason", Text, nullable=False, default=""),
    Column("queued_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("registered_at", UtcTime),
    Column("metrics", JSON, nullable=False),
    Column("cancel_asked", Text),
)

# MUTABLE: moved in the transaction of the rows that were read. `updated_at`: read up to here; `settled_at`: whatever
# changed up to here has been seen, also what was committed late; `last_id`: where a full pass stands, null when none runs.
cursors = Table(
    "cursors",
    metadata,
    *scope_columns(key=True),
    Column("source", String(64), primary_key=True),
    Column("updated_at", UtcTime),
    Column("last_id", Integer),
    Column("full_scan_at", UtcTime),
    Column("settled_at", UtcTime),
)

# MUTABLE: what agreement was last measured on, by task. `labels` are [annotation_id, rev_hash, updated_at,
# person_id, shown], `rev_hash` is the task's, `score` how far people agree on it over all controls, `scores` by control.
measured = Table(
    "measured",
    metadata,
    *scope_columns(key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("role", String(16), nullable=False),
    Column("rev_hash", String(64), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("score", Float),
    Column("scores", JSON, nullable=False),
    Index(None, "instance", "project_id", "score"),
)

# Which classes' suggestions are shown to nobody ("hidden"), or again ("shown"): the last row of a class holds.
showings = Table(
    "showings",
    metadata,
    Column("showing_id", RowId, primary_key=True, autoincrement=True),
    *scope_columns(key=False),
    Column("control", String(128), nullable=False),
    Column("class_name", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("evidence", JSON, nullable=False),
    Index(None, "instance", "project_id"),
)

# MUTABLE
leases = Table(
    "leases",
    metadata,
    *scope_columns(key=True),
    Column("kind", String(16), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

# MUTABLE: one row per project, moved in the promotion's transaction.
serving = Table(
    "serving",
    metadata,
    *scope_columns(key=True),
    Column("backend", String(64), nullable=False),
    Column("model_version", String(128), nullable=False),
    Column("serving_id", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("generation", Integer, nullable=False),
)

promotions = Table(
    "promotions",
    metadata,
    *scope_columns(key=True),
    Column("promotion_id", String(128), primary_key=True),
    Column("step", String(32), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("detail", JSON, nullable=False),
)

regions = Table(
    "regions",
    metadata,
    Column("row_id", RowId, primary_key=True, autoincrement=True),
    *scope_columns(key=False),
    Column("origin", String(16), nullable=False),
    Column("origin_id", BigInteger, nullable=False),
    Column("task_id", Integer, nullable=False),
    Column("item", String(64)),
    Column("control", String(128)),
    Column("kind", String(32)),
    Column("region_id", String(64)),
    Column("parent_region", String(64)),
    Column("class_ids", JSON),
    Column("x", Float),
    Column("y", Float),
    Column("w", Float),
    Column("h", Float),
    Column("rot", Float),
    Column("width", Integer),
    Column("height", Integer),
    Column("start", Integer),
    Column("end", Integer),
    Column("frame", Integer),
    Column("num", Float),
    Column("text", Text),
    Column("points", JSON),
    Column("rle", JSON),
    Column("score", Float),
    Index(None, "instance", "project_id", "origin", "origin_id"),
)

# The view `labels` (the latest revision of each task and person) is made by the migrations; it is no table of `metadata`.
labels = Table("labels", MetaData(), *(Column(column.name, column.type) for column in revisions.columns))
