"""The work of a project's people from its store: current labels, what each was shown, known answers, and skipped tasks."""

from __future__ import annotations

from typing import Any

import orjson
import polars as pl
from sqlalchemy import and_, or_, select

from labelloop.store import ProjectRow, Store
from labelloop.store.newest import is_newest
from labelloop.store.shown import shown_predictions
from labelloop.store.tables import revisions
from sync.quality import LABELS_SCHEMA, labels_frame
from sync.runtime import Runtime


def work_frame(runtime: Runtime, project: ProjectRow) -> pl.DataFrame:
    """The project's labels as `qa.annotators.annotator_report` takes them, with `state` and `suggested`."""
    store, project_id = runtime.store, project.project_id
    labels = labels_frame(runtime, project).with_columns(pl.lit("submitted").alias("state"))
    others = _gold_and_skipped(store, project_id)
    rows = pl.DataFrame(others, schema={**LABELS_SCHEMA, "state": pl.String})
    labels = pl.concat([labels, rows.join(labels, on="annotation_id", how="anti")], how="diagonal")
    # Some kinds of answers are read beside the data of their task, which stands in its other labels.
    labels = labels.with_columns(pl.col("data").fill_null(pl.col("data").drop_nulls().first().over("task_id")))
    parents = {
        each.annotation_id: (each.parent_prediction, each.task_id)
        for each in store.labels(project_id)
        if each.parent_prediction is not None
    }
    copies = {
        (copy.ls_prediction_id, copy.task_id): orjson.dumps(copy.result).decode()
        for copy in shown_predictions(store, project_id, {parent for parent, _ in parents.values()})
    }
    told = [copies.get(parents.get(annotation, (-1, -1))) for annotation in labels["annotation_id"].to_list()]
    return labels.with_columns(pl.Series("suggested", told, dtype=pl.String))


def _gold_and_skipped(store: Store, project_id: int) -> list[dict[str, Any]]:
    """The current revisions that `Store.labels` leaves out: marked as ground truth, or skipped by people."""
    r = revisions.c
    gold = and_(r.ground_truth.is_(True), r.state == "submitted")
    skipped = and_(r.kind == "human", r.state == "cancelled")
    query = select(
        r.task_id, r.annotation_id, r.person_id.label("annotator"), r.updated_at.label("at"),
        r.shown_serving_id.label("shown"), r.lead_time_s, r.rev_hash, r.ground_truth, r.state, r.result,
    ).where(store.scope(revisions, project_id), or_(gold, skipped), is_newest())  # fmt: skip
    with store.read() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    return [{**row, "role": None, "data": None, "result": orjson.dumps(row["result"]).decode()} for row in found]
