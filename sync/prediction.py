"""What a model version says of a project's tasks: made once, kept in the store, later ranked and pushed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, delete, select

from backends import backend_module
from backends.predicting import media_use_of, predict_each
from backends.protocols import Backend
from backends.showing import shown_regions
from backends.version_labels import Thresholds
from labelloop.artefacts import fetch_artefact
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.logs import error_fields
from labelloop.settings import ServiceSettings
from labelloop.store import ProjectRow, Store, TaskRow
from labelloop.store.signals import signal_rows
from labelloop.store.tables import outcomes, signals
from labelloop.store.types import utc_now
from labelloop.task_items import Fetch, MediaUse, task_item
from labelloop.values import Outcome, TaskItem
from qa.kinds.registry import CLASS_KINDS, measurable

log = logging.getLogger(__name__)

BATCH = 32
#: Reasons for no result that another try may not meet again.
MAY_PASS = frozenset({"not_found", "deadline", "error"})
#: Media fetched at once; the next batch's are fetched while the model is busy with this one.
FETCHERS = 4


class Guard(Protocol):
    """What a batch of outcomes is written under: a held lease, or whatever else says when to stop."""

    def check(self) -> None:
        """Raise what ends the work, or return."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A writing transaction."""


def open_tasks(store: Store, project_id: int) -> list[TaskRow]:
    """The tasks that still want labels."""
    wanted = store.open_task_ids(project_id)
    return [task for task in store.tasks(project_id) if task.task_id in wanted]


def outcome_ids(store: Store, project_id: int, model_version: str) -> set[int]:
    """The tasks that a model version has looked at."""
    c = outcomes.c
    query = select(c.task_id).where(store.scope(outcomes, project_id), c.model_version == model_version)
    with store.read() as connection:
        return set(connection.execute(query).scalars())


def outcomes_of(
    store: Store, project_id: int, model_version: str, lo: int | None = None, hi: int | None = None
) -> dict[int, dict[str, Any]]:
    """Every stored outcome of a version, by task; `lo` and `hi` bound the task ids."""
    c = outcomes.c
    query = select(c.task_id, c.status, c.confidence, c.uncertainty, c.result, c.fired_rules).where(
        store.scope(outcomes, project_id), c.model_version == model_version
    )
    if lo is not None:
        query = query.where(c.task_id >= lo)
    if hi is not None:
        query = query.where(c.task_id <= hi)
    with store.read() as connection:
        return {row["task_id"]: dict(row) for row in connection.execute(query).mappings()}


def without_outcome(store: Store, project_id: int, model_version: str, tasks: Sequence[TaskRow]) -> list[TaskRow]:
    """The tasks that a model version has not looked at yet."""
    done = outcome_ids(store, project_id, model_version)
    return [task for task in tasks if task.task_id not in done]


def forget_failed(store: Store, project_id: int, model_version: str) -> int:
    """Drop a version's outcomes whose reason may have passed, so that their tasks are predicted again; how many."""
    c = outcomes.c
    with store.begin() as connection:
        gone = connection.execute(
            delete(outcomes).where(
                store.scope(outcomes, project_id), c.model_version == model_version, c.status.in_(sorted(MAY_PASS))
            )
        )
    return gone.rowcount


def load_version(services: ServiceSettings, project: ProjectRow, path: str, digest: str) -> Backend:
    """A model version loaded from a verified local copy of its artefact."""
    folder = fetch_artefact(path, digest, services.data.absolute() / "versions")
    module = backend_module(project.backend)
    loaded: Backend = module.load(folder, device=services.device, threads=services.threads)
    return loaded


def predict_tasks(
    store: Store,
    project: ProjectRow,
    model_version: str,
    backend: Backend,
    tasks: Sequence[TaskRow],
    fetch: Fetch | None,
    guard: Guard,
    progress: Callable[[float, str], None],
) -> int:
    """Store an outcome for each task, in batches; how many are new. A task that fails gets a reason, never an exception.

    With it are stored the probabilities and the embedding that the model gives: the order of the queue and label errors
    need them.
    """
    config = parse_label_config(project.label_config)
    judged = judged_controls(config)
    want = frozenset({"regions", "embedding", *(["probs"] if judged else [])})
    done = seen = 0
    for batch, items in _with_media(tasks, config, fetch, media_use_of(backend)):
        guard.check()
        predicted = iter(predict_each(backend, [item for item in items if isinstance(item, TaskItem)], want=want))
        found = [next(predicted) if isinstance(item, TaskItem) else item for item in items]
        rows = [
            _outcome_row(project.project_id, model_version, task.task_id, outcome, config)
            for task, outcome in zip(batch, found, strict=True)
        ]
        told = [
            row
            for task, outcome in zip(batch, found, strict=True)
            for row in _signal_rows(project.project_id, model_version, task.task_id, outcome, judged)
        ]
        with guard.writing() as connection:
            done += store.insert_missing(connection, outcomes, rows)
            store.upsert(connection, signals, told, ("probs", "embedding"))
        seen += len(batch)
        progress(seen / len(tasks), f"{seen} of {len(tasks)} tasks predicted")
    return done


def _with_media(
    tasks: Sequence[TaskRow], config: LabelConfig, fetch: Fetch | None, use: MediaUse
) -> Iterator[tuple[Sequence[TaskRow], list[TaskItem | Outcome]]]:
    """Batches of tasks with what the model sees of each, in order; one batch ahead is being fetched meanwhile."""
    pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="media")

    def begin(start: int) -> list[Future[TaskItem | Outcome]]:
        return [pool.submit(_item, task, config, fetch, use) for task in tasks[start : start + BATCH]]

    try:
        ahead = begin(0)
        for start in range(0, len(tasks), BATCH):
            current, ahead = ahead, begin(start + BATCH)
            yield tasks[start : start + BATCH], [item.result() for item in current]
    finally:
        pool.shutdown(cancel_futures=True)


def _item(task: TaskRow, config: LabelConfig, fetch: Fetch | None, use: MediaUse) -> TaskItem | Outcome:
    try:
        return task_item(task.task_id, task.data, config, fetch, meta=task.meta, media_use=use)
    except Exception as error:  # a full disk, a broken cache folder: this task's matter only
        log.error("media not fetched", extra={"task": task.task_id, **error_fields(error)})
        return Outcome("error", detail=f"fetching its media failed with {type(error).__name__}")


def _outcome_row(
    project_id: int, model_version: str, task_id: int, outcome: Outcome, config: LabelConfig
) -> dict[str, Any]:
    fitting = [region for region in outcome.regions if config.problem_with(config.as_stored(region)) is None]
    return {
        "project_id": project_id,
        "model_version": model_version,
        "task_id": task_id,
        "created_at": utc_now(),
        "status": "class_not_in_config" if outcome.regions and not fitting else outcome.status,
        "confidence": outcome.confidence,
        "uncertainty": outcome.uncertainty,
        "result": fitting,
        "fired_rules": list(outcome.fired_rules) or None,
    }


@dataclass(frozen=True)
class Judged:
    """A control whose labels are judged by probabilities: how a model names its classes, and whether their own names do."""

    name: str
    units: Mapping[str, str]
    named_alone: bool


def judged_controls(config: LabelConfig) -> list[Judged]:
    """The controls of classes of the task as a whole.

    A class that several of them have tells of none of them where a model doesn't name the control.
    """
    found = [control for control, kind in measurable(config) if kind.name in CLASS_KINDS]
    owners = Counter(name for control in found for name in set(control.classes))
    return [
        Judged(
            control.name,
            {name: f"{control.name}/{name}" for name in control.classes},
            all(owners[name] == 1 for name in control.classes),
        )
        for control in found
    ]


def _signal_rows(
    project_id: int, model_version: str, task_id: int, outcome: Outcome, judged: Sequence[Judged]
) -> list[dict[str, Any]]:
    if outcome.status != "ok":
        return []
    key = {"project_id": project_id, "task_id": task_id, "model_version": model_version}
    try:
        return signal_rows(key, by_control(outcome.probs or {}, judged), outcome.embedding)
    except (TypeError, ValueError) as error:  # a model's odd numbers are no reason to lose its regions
        log.error("signals not kept", extra={"task": task_id, **error_fields(error)})
        return []


def by_control(probs: Mapping[str, float], controls: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Probabilities by control and class, of units named "control/class", or "class" by a model with one control."""
    found = {}
    for control in controls:
        chances = {name: probs[unit] for name, unit in control.units.items() if unit in probs}
        if not chances and control.named_alone:
            chances = {name: probs[name] for name in control.units if name in probs}
        if chances:
            found[control.name] = chances
    return found


def shown_result(row: dict[str, Any], role: str, thresholds: Thresholds | None) -> list[dict[str, Any]]:
    """What a person sees of a stored outcome: nothing on a task whose role forbids it, else the regions over threshold.

    Without thresholds all of them: what was imported was said by somebody, and has no scores to compare.
    """
    if role != "pool" or row["status"] != "ok":
        return []
    if thresholds is None:
        return list(row["result"])
    return list(shown_regions(Outcome(regions=tuple(row["result"])), thresholds))
