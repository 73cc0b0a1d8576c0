"""Training attempts in the model registry: each logged once, later if MLflow is away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from labelloop import __version__
from labelloop.artefacts import fetch_artefact
from labelloop.errors import NotReady, ServiceDown
from labelloop.registry import Registration, model_name
from labelloop.store import ProjectRow, TrainingRow
from labelloop.store.leases import holding
from labelloop.store.trainings import training, trainings_of, update_training
from labelloop.store.types import utc_now
from sync.learning_curve import Point, forecast, points_of
from sync.runtime import Runtime

log = logging.getLogger(__name__)

LEASE_TTL_S = 30.0


def register_training(runtime: Runtime, project: ProjectRow, training_id: str) -> None:
    """Log an attempt and its artefact to MLflow, once.

    ServiceDown when MLflow cannot be reached, NotReady while another process registers for this project.
    """
    with holding(runtime.store, project.project_id, "register", LEASE_TTL_S) as lease:
        if lease is None:
            raise NotReady(f"another process registers a version of {project.title!r} in MLflow; try again later")
        _register(runtime, project, training_id)


def _register(runtime: Runtime, project: ProjectRow, training_id: str) -> None:
    store = runtime.store
    row = training(store, project.project_id, training_id)
    if row.registered_at is not None:
        return
    runtime.registry.register(_registration(runtime, project, row))
    with store.begin() as connection:
        update_training(store, connection, project.project_id, training_id, registered_at=utc_now())


def register_or_leave(runtime: Runtime, project: ProjectRow, training_id: str) -> None:
    """Register now if MLflow answers; a reconcile asks again later if not."""
    try:
        register_training(runtime, project, training_id)
    except (NotReady, ServiceDown) as error:
        log.warning("registration put off", extra={"training": training_id, "reason": str(error)})


def _registration(runtime: Runtime, project: ProjectRow, row: TrainingRow) -> Registration:
    metrics: dict[str, Any] = dict(row.metrics)
    candidate = metrics.get("candidate") or {}
    numbers = {f"holdout_{candidate['name']}": candidate["value"], "holdout_tasks": candidate["n"]} if candidate else {}
    if metrics.get("champion"):
        numbers[f"champion_{candidate['name']}"] = metrics["champion"]["value"]
    numbers |= {name: value for name, value in (candidate.get("extra") or {}).items() if isinstance(value, int | float)}
    gate = metrics.get("gate") or {}
    if gate.get("interval"):
        low, high = gate["interval"]
        numbers |= {"gate_difference": gate["difference"], "gate_low": low, "gate_high": high}
    if metrics.get("labels"):
        numbers["labels"] = metrics["labels"]
    earlier = [each for each in trainings_of(runtime.store, project.project_id) if each.number <= row.number]
    points = points_of(earlier)
    every = runtime.project_settings(project).active_learning.retrain_every_n_labels
    if found := forecast(points, every):
        numbers |= {"forecast_gain": found.gain, "forecast_low": found.low, "forecast_high": found.high}
    artefact = None
    if row.path and row.digest:
        artefact = fetch_artefact(row.path, row.digest, runtime.services.data.absolute() / "versions")
    tags = {
        "dataset_id": row.dataset_id,
        "config_hash": str(metrics.get("config_hash", "")),
        "metric": str(candidate.get("name", "")),
        "holdout_hash": str(gate.get("holdout_hash", "")),
        "parent": row.base_version or "",
        "outcome": row.outcome or "",
        "reason": row.reason[:4000],
        "code_version": __version__,
        "digest": row.digest or "",
    }
    return Registration(
        model=model_name(runtime.store.instance, project.project_id, project.backend),
        training_id=row.training_id,
        version=row.candidate,
        artefact=artefact,
        params={"label_count": row.label_count, **metrics.get("params", {})},
        metrics=numbers,
        curve=tuple(metrics.get("curve") or ()),
        by_labels=_learning_curve(points),
        tags=tags,
        details=candidate.get("details") or {},
    )


def _learning_curve(points: Sequence[Point]) -> dict[str, list[tuple[int, float]]]:
    """The holdout metric of this training and of those before it, and the ends of its interval, by labels."""
    found = {"learning_curve": [(point.labels, point.value) for point in points]}
    for name in ("low", "high"):
        ends = [(point.labels, getattr(point, name)) for point in points]
        found[f"learning_curve_{name}"] = [(labels, end) for labels, end in ends if end is not None]
    return found
