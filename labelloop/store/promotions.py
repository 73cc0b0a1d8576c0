"""Promotions in the store: one row per finished step, so that a promotion goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from labelloop.store.rows import PromotionStep
from labelloop.store.store import Store
from labelloop.store.tables import predictions, promotions, serving
from labelloop.store.types import utc_now

#: In this order; the first step's detail says what is promoted.
STEPS = ("planned", "predicted", "ranked", "pushed", "ready", "switched", "aliased", "served", "retired")


def add_step(
    store: Store, connection: Connection, project_id: int, promotion_id: str, step: str, detail: Mapping[str, Any]
) -> None:
    """Note a finished step; noting it twice changes nothing."""
    row = {
        "project_id": project_id,
        "promotion_id": promotion_id,
        "step": step,
        "at": utc_now(),
        "detail": dict(detail),
    }
    store.insert_missing(connection, promotions, [row])


def steps_of(store: Store, promotion_id: str) -> list[PromotionStep]:
    """The finished steps of one promotion, in the order of STEPS."""
    c = promotions.c
    query = select(c.promotion_id, c.step, c.at, c.detail).where(
        c.instance == store.instance, c.promotion_id == promotion_id
    )
    with store.read() as connection:
        found = [PromotionStep(**row) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda row: STEPS.index(row.step) if row.step in STEPS else len(STEPS))


def promotions_of(store: Store, project_id: int) -> list[list[PromotionStep]]:
    """Every promotion of a project with its finished steps, oldest first."""
    c = promotions.c
    query = (
        select(c.promotion_id)
        .where(store.scope(promotions, project_id), c.step == "planned")
        .order_by(c.at, c.promotion_id)
    )
    with store.read() as connection:
        ids = [row[0] for row in connection.execute(query)]
    return [steps_of(store, promotion_id) for promotion_id in ids]


def unserved(store: Store, project_id: int) -> list[str]:
    """Promotions that have not served yet, oldest first; only the newest of them is worth going on with."""
    return [
        steps[0].promotion_id
        for steps in promotions_of(store, project_id)
        if not {"served", "superseded"} & {step.step for step in steps}
    ]


def next_serving_id(store: Store, connection: Connection, project_id: int, model_version: str) -> str:
    """`<model version>-r<ranking run>`: new at each bulk write, because a bulk write never replaces."""
    c = promotions.c
    planned = connection.execute(
        select(c.detail).where(store.scope(promotions, project_id), c.step == "planned")
    ).scalars()
    runs = sum(1 for detail in planned if detail["model_version"] == model_version)
    return f"{model_version}-r{runs + 1}"


def move_serving(store: Store, connection: Connection, project_id: int, row: Mapping[str, Any]) -> int:
    """Make `row` (backend, model_version, serving_id, digest, path) what the project serves; the new generation."""
    where = store.scope(serving, project_id)
    current = connection.execute(select(serving.c.generation, serving.c.serving_id).where(where)).first()
    if current is not None and current.serving_id == row["serving_id"]:
        return int(current.generation)
    generation = (int(current.generation) if current else 0) + 1
    full = {"project_id": project_id, **row, "generation": generation}
    store.upsert(connection, serving, [full], [*row, "generation"])
    return generation


def predictions_of(
    store: Store, project_id: int, serving_id: str, lo: int | None = None, hi: int | None = None
) -> list[dict[str, Any]]:
    """The ranked predictions of one serving id, first to be served first; `lo` and `hi` bound the task ids."""
    c = predictions.c
    query = (
        select(c.task_id, c.order_key, c.order_reason, c.status, c.confidence, c.uncertainty, c.result)
        .where(store.in_queue(project_id, serving_id))
        .order_by(c.order_key)
    )
    if lo is not None:
        query = query.where(c.task_id >= lo)
    if hi is not None:
        query = query.where(c.task_id <= hi)
    with store.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def ranked_ids(store: Store, project_id: int, serving_id: str) -> set[int]:
    """The tasks that are ranked under one serving id."""
    where = store.in_queue(project_id, serving_id)
    with store.read() as connection:
        return set(connection.execute(select(predictions.c.task_id).where(where)).scalars())


def count_predictions(store: Store, project_id: int, serving_id: str) -> int:
    """How many tasks are ranked under one serving id."""
    where = store.in_queue(project_id, serving_id)
    with store.read() as connection:
        return int(connection.execute(select(func.count()).where(where)).scalar_one())
