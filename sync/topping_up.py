"""Predictions under the served id for tasks that came, or became open again, after its ranking was made."""

from __future__ import annotations

import random

from backends.version_labels import Thresholds, thresholds_of
from labelloop.artefacts import fetch_artefact
from labelloop.store import ProjectRow, Served
from labelloop.store.leases import HeldLease, holding
from labelloop.store.promotions import predictions_of, unserved
from labelloop.store.tables import predictions
from sync.prediction import load_version, open_tasks, predict_tasks, without_outcome
from sync.promotion import LEASE_TTL_S, outcomes_of, plan_ranking, prediction_row, push_row, uses_media
from sync.runtime import Runtime


def top_up(runtime: Runtime, project: ProjectRow, model_version: str, lo: int, hi: int) -> int:
    """Predict, place and push the open tasks with ids lo to hi that the served ranking lacks; how many.

    Works under the promote lease, so the served id cannot change meanwhile. Nothing is done for a version that is served
    no longer.
    """
    with holding(runtime.store, project.project_id, "promote", LEASE_TTL_S) as lease:
        served = runtime.store.served(project.project_id)
        if lease is None or served is None or served.model_version != model_version:
            return 0
        if unserved(runtime.store, project.project_id):
            return 0
        return _top_up(runtime, project, served, lease, lo, hi)


def _top_up(runtime: Runtime, project: ProjectRow, served: Served, lease: HeldLease, lo: int, hi: int) -> int:
    store, project_id = runtime.store, project.project_id
    ranked = predictions_of(store, project_id, served.serving_id)
    have = {row["task_id"] for row in ranked}
    waiting = [
        task
        for task in open_tasks(store.tasks(project_id, lo, hi), store.labels(project_id))
        if task.task_id not in have
    ]
    if not waiting:
        return 0
    thresholds: Thresholds = {}
    if served.digest:
        cache = runtime.services.data.absolute() / "versions"
        thresholds = thresholds_of(fetch_artefact(served.path, served.digest, cache))
        missing = without_outcome(store, project_id, served.model_version, waiting)
        if missing:
            backend = load_version(project, served.path, served.digest, cache, runtime.services.device)
            fetch = runtime.media.fetch if uses_media(project) else None
            predict_tasks(
                store, project, served.model_version, backend, missing, fetch, lease, lambda _share, _message: None
            )
    found = outcomes_of(store, project_id, served.model_version) if served.digest else {}
    uncertainties = [row["uncertainty"] or 0.0 for row in ranked if row["order_reason"] == "strategy"]
    rows = [
        prediction_row(
            project, served.model_version, served.serving_id, task.task_id,
            _place(task.role, (found.get(task.task_id) or {}).get("uncertainty"), uncertainties),
            task.role if task.role != "pool" else "strategy" if task.task_id in found else "cold",
            found.get(task.task_id), task.role, thresholds,
        )
        for task in waiting
    ]  # fmt: skip
    present = {entry.task_id for entry in runtime.client.sweep(project_id)}
    rows = [row for row in rows if row["task_id"] in present]
    with lease.writing() as connection:
        store.insert_missing(connection, predictions, rows)
    try:
        runtime.client.push_predictions(project_id, [push_row(row, served.serving_id) for row in rows])
    except Exception:
        # Nobody can tell which rows arrived, and pushing them again would double those: a new ranking of the same
        # version is pushed under an id of its own, which is emptied first.
        plan_ranking(runtime, project, served.model_version)
        raise
    return len(rows)


def _place(role: str, uncertainty: float | None, ranked: list[float]) -> float:
    """An order key among those ranked before: by uncertainty for a pool task, at random for the others."""
    if role != "pool" or uncertainty is None or not ranked:
        return random.random()
    return sum(1 for other in ranked if other > uncertainty) / len(ranked)
