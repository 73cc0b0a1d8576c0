"""Copies of the predictions that labels began from: Label Studio forgets both the version and the content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from labelloop.store.store import Store
from labelloop.store.tables import predictions, promotions

#: What a label of an unversioned prediction was shown, and one whose prediction was gone before it could be copied.
UNVERSIONED, UNKNOWN = "unversioned", "unknown"


@dataclass(frozen=True)
class Shown:
    """What a person was shown: a prediction of Label Studio as it was when the label was first read.

    `serving_id` is the name that Label Studio knew it by, `model_version` ours where we had pushed it; `score` is its
    place in the queue and no confidence. Without regions it showed nothing.
    """

    ls_prediction_id: int
    task_id: int
    model_version: str
    serving_id: str
    created_at: datetime
    score: float | None
    result: list[dict[str, Any]]


def shown_predictions(store: Store, project_id: int, prediction_ids: Iterable[int]) -> list[Shown]:
    """The copies there are of these predictions (`parent_prediction` of a revision).

    Label Studio on SQLite may give an id twice: compare the task too.
    """
    c = predictions.c
    wanted = sorted(set(prediction_ids))
    query = select(
        c.ls_prediction_id, c.task_id, c.model_version, c.serving_id, c.created_at, c.order_key.label("score"), c.result
    ).where(store.scope(predictions, project_id))
    with store.read() as connection:
        return [
            Shown(**row)
            for chunk in store.chunks(wanted)
            for row in connection.execute(query.where(c.ls_prediction_id.in_(chunk))).mappings()
        ]


def put_shown(store: Store, connection: Connection, project_id: int, copies: Iterable[Shown]) -> int:
    """Add copies; those that are there already stay as they were first seen. How many are new."""
    rows = [
        {
            "project_id": project_id,
            "ls_prediction_id": copy.ls_prediction_id,
            "task_id": copy.task_id,
            "model_version": copy.model_version,
            "serving_id": copy.serving_id,
            "created_at": copy.created_at,
            "order_key": copy.score,
            "order_reason": "shown",
            "status": "ok",
            "result": copy.result,
        }
        for copy in copies
    ]
    return store.insert_missing(connection, predictions, rows)


def versions_served(store: Store, project_id: int, serving_ids: Iterable[str]) -> dict[str, str]:
    """Model version by serving id, of those that we have planned to serve."""
    c = promotions.c
    query = select(c.promotion_id, c.detail).where(
        store.scope(promotions, project_id), c.step == "planned", c.promotion_id.in_(sorted(set(serving_ids)))
    )
    with store.read() as connection:
        return {serving_id: str(detail["model_version"]) for serving_id, detail in connection.execute(query)}
