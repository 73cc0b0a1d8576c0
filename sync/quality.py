"""The labels of a project as the table that quality is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl
from sqlalchemy import select

from labelloop.store import ProjectRow, Store
from labelloop.store.tables import tasks
from sync.review_cases import review_answers
from sync.runtime import Runtime

#: Columns of `labels_frame`.
LABELS_SCHEMA: dict[str, Any] = {
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


def labels_frame(runtime: Runtime, project: ProjectRow, task_ids: Sequence[int] | None = None) -> pl.DataFrame:
    """The project's current labels, or those of some tasks, in the tabular contract.

    `role` is that of their task ("gold" among them). Reviewers' answers are no labels: they saw the others'.
    """
    reviews = review_answers(runtime.store, project.project_id)
    labels = [
        label
        for label in runtime.store.labels(project.project_id, task_ids=task_ids)
        if label.annotation_id not in reviews
    ]
    data = _task_data(runtime.store, project.project_id, task_ids)
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
    return pl.DataFrame(rows, schema=LABELS_SCHEMA)


def _task_data(store: Store, project_id: int, task_ids: Sequence[int] | None) -> dict[int, str]:
    """The data of tasks as JSON."""
    query = select(tasks.c.task_id, tasks.c.data).where(store.scope(tasks, project_id))
    parts = [query] if task_ids is None else [query.where(tasks.c.task_id.in_(c)) for c in store.chunks(task_ids)]
    with store.read() as connection:
        return {task: orjson.dumps(data).decode() for part in parts for task, data in connection.execute(part)}
