"""Agreement of a project's people, measured from the store while work goes on, and kept as a report."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from sqlalchemy import select

from labelloop import folders
from labelloop.label_config import parse_label_config
from labelloop.store import ProjectRow
from labelloop.store.tables import cursors
from labelloop.store.types import utc_now
from qa.agreement import measure_agreement
from sync.runtime import Runtime

log = logging.getLogger(__name__)

SOURCE = "quality"


def labels_frame(runtime: Runtime, project: ProjectRow) -> pl.DataFrame:
    """The project's current labels in the tabular contract; `role` is that of their task ("gold" among them)."""
    labels = runtime.store.labels(project.project_id)
    data = {task.task_id: orjson.dumps(task.data).decode() for task in runtime.store.tasks(project.project_id)}
    rows = [
        {
            "task_id": label.task_id,
            "annotation_id": label.annotation_id,
            "annotator": label.person_id,
            "at": label.updated_at,
            "shown": label.shown_serving_id,
            "role": label.role,
            "lead_time_s": label.lead_time_s,
            "rev_hash": label.rev_hash,
            "ground_truth": label.ground_truth,
            "result": orjson.dumps(label.result).decode(),
            "data": data.get(label.task_id),
        }
        for label in labels
    ]
    schema: dict[str, Any] = {
        "task_id": pl.Int64,
        "annotation_id": pl.Int64,
        "annotator": pl.Int64,
        "at": pl.Datetime("us", "UTC"),
        "shown": pl.String,
        "role": pl.String,
        "lead_time_s": pl.Float64,
        "rev_hash": pl.String,
        "ground_truth": pl.Boolean,
        "result": pl.String,
        "data": pl.String,
    }
    return pl.DataFrame(rows, schema=schema)


def agreement_of(runtime: Runtime, project: ProjectRow) -> dict[str, Any]:
    """How far the project's people agree, on the labels as they are in the store."""
    return measure_agreement(labels_frame(runtime, project), parse_label_config(project.label_config))


def check_agreement(runtime: Runtime, project: ProjectRow) -> str:
    """Measure, keep the report below the artifacts, and note how many labels it saw; the report's address."""
    count = len(runtime.store.labels(project.project_id))
    report = agreement_of(runtime, project)
    name = f"agreement-p{project.project_id}-{count}"
    uri = folders.join(runtime.services.artifacts, "reports", name)
    with tempfile.TemporaryDirectory(prefix="labelloop-report-") as folder:
        body = {"project": project.project_id, "labels": count, "at": utc_now(), **report}
        (Path(folder) / "agreement.json").write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
        folders.publish(Path(folder), uri)
    row = {"project_id": project.project_id, "source": SOURCE, "updated_at": utc_now(), "last_id": count}
    with runtime.store.begin() as connection:
        runtime.store.upsert(connection, cursors, [row], ["updated_at", "last_id"])
    return uri


def labels_at_last_check(runtime: Runtime, project: ProjectRow) -> int:
    """How many labels the last report saw; 0 before the first."""
    where = runtime.store.scope(cursors, project.project_id) & (cursors.c.source == SOURCE)
    with runtime.store.read() as connection:
        return int(connection.execute(select(cursors.c.last_id).where(where)).scalar() or 0)
