"""What a model version says of a project's tasks: made once, kept in the store, later ranked and pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from backends import backend_module
from backends.protocols import Backend
from backends.showing import shown_regions
from backends.version_labels import Thresholds
from labelloop.artefacts import fetch_artefact
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.store import LabelRow, ProjectRow, Store, TaskRow
from labelloop.store.leases import HeldLease
from labelloop.store.tables import outcomes
from labelloop.store.types import utc_now
from labelloop.task_items import Fetch, task_item
from labelloop.values import Outcome, TaskItem

BATCH = 32


def open_tasks(tasks: Iterable[TaskRow], labels: Iterable[LabelRow]) -> list[TaskRow]:
    """The tasks that still want labels: fewer people have labelled them than their overlap asks for."""
    people: dict[int, set[int]] = {}
    for label in labels:
        people.setdefault(label.task_id, set()).add(label.person_id)
    return [task for task in tasks if len(people.get(task.task_id, ())) < task.overlap]


def without_outcome(store: Store, project_id: int, model_version: str, tasks: Sequence[TaskRow]) -> list[TaskRow]:
    """The tasks that a model version has not looked at yet."""
    c = outcomes.c
    query = select(c.task_id).where(store.scope(outcomes, project_id), c.model_version == model_version)
    with store.read() as connection:
        done = set(connection.execute(query).scalars())
    return [task for task in tasks if task.task_id not in done]


def load_version(project: ProjectRow, path: str, digest: str, cache: Path, device: str) -> Backend:
    """A model version loaded from a verified local copy of its artefact."""
    folder = fetch_artefact(path, digest, cache)
    module = backend_module(project.backend)
    loaded: Backend = module.load(folder, device=device)
    return loaded


def predict_tasks(
    store: Store,
    project: ProjectRow,
    model_version: str,
    backend: Backend,
    tasks: Sequence[TaskRow],
    fetch: Fetch | None,
    lease: HeldLease,
    progress: Callable[[float, str], None],
) -> int:
    """Store an outcome for each task, in batches; how many are new. A task that fails gets a reason, never an exception."""
    config = parse_label_config(project.label_config)
    done = 0
    for start in range(0, len(tasks), BATCH):
        lease.check()
        batch = tasks[start : start + BATCH]
        found = _outcomes(backend, config, batch, fetch)
        rows = [
            _outcome_row(project.project_id, model_version, task.task_id, outcome, config)
            for task, outcome in zip(batch, found, strict=True)
        ]
        with lease.writing() as connection:
            done += store.insert_missing(connection, outcomes, rows)
        progress((start + len(batch)) / len(tasks), f"{start + len(batch)} of {len(tasks)} tasks predicted")
    return done


def _outcomes(backend: Backend, config: LabelConfig, batch: Sequence[TaskRow], fetch: Fetch | None) -> list[Outcome]:
    """One outcome per task, in order; the model sees only tasks whose media is there."""
    found = [task_item(task.task_id, task.data, config, fetch) for task in batch]
    predicted = iter(backend.predict([item for item in found if isinstance(item, TaskItem)]))
    return [next(predicted) if isinstance(item, TaskItem) else item for item in found]


def _outcome_row(
    project_id: int, model_version: str, task_id: int, outcome: Outcome, config: LabelConfig
) -> dict[str, Any]:
    fitting = [region for region in outcome.regions if config.problem_with(region) is None]
    return {
        "project_id": project_id,
        "model_version": model_version,
        "task_id": task_id,
        "created_at": utc_now(),
        "status": outcome.status,
        "confidence": outcome.confidence,
        "uncertainty": outcome.uncertainty,
        "result": fitting,
    }


def shown_result(row: dict[str, Any], role: str, thresholds: Thresholds) -> list[dict[str, Any]]:
    """What a person sees of a stored outcome: nothing on a task whose role forbids it, else the regions over threshold."""
    if role != "pool" or row["status"] != "ok":
        return []
    return list(shown_regions(Outcome(regions=tuple(row["result"])), thresholds))
