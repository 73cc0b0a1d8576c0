"""What Label Studio says of tasks and annotations, as small frozen values with UTC times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class AnnotationRow:
    """One annotation as it stands now; `result` is Label Studio's list of regions."""

    annotation_id: int
    task_id: int
    result: list[dict[str, Any]]
    person_id: int | None
    was_cancelled: bool
    ground_truth: bool
    created_at: datetime
    updated_at: datetime
    lead_time_s: float | None
    parent_prediction: int | None
    import_id: int | None
    last_action: str | None
    bulk_created: bool


@dataclass(frozen=True)
class TaskRow:
    """One task with its annotations; predictions, the heaviest part of a task, are asked for apart."""

    task_id: int
    data: dict[str, Any]
    meta: dict[str, Any]
    overlap: int
    is_labeled: bool
    created_at: datetime
    updated_at: datetime
    annotations: tuple[AnnotationRow, ...]


@dataclass(frozen=True)
class SweptTask:
    """One line of the full listing; `annotation_ids` is None where Label Studio cut its list short (500 characters)."""

    task_id: int
    updated_at: datetime
    overlap: int
    n_submitted: int
    n_cancelled: int
    annotation_ids: frozenset[int] | None


@dataclass(frozen=True)
class HeldPrediction:
    """One prediction that Label Studio holds."""

    prediction_id: int
    task_id: int
    score: float | None
    result: list[dict[str, Any]]


@dataclass(frozen=True)
class ShownPrediction:
    """One prediction as a person may have been shown it; `model_version` is empty where its maker gave none."""

    prediction_id: int
    task_id: int
    model_version: str
    created_at: datetime
    score: float | None
    result: list[dict[str, Any]]


@dataclass(frozen=True)
class TaskMark:
    """What ingest asks of a task that is there already."""

    task_id: int
    meta: dict[str, Any]
    overlap: int


@dataclass(frozen=True)
class ProjectCounts:
    """Label Studio's own counters; `annotations` are submitted ones, `skipped` the cancelled ones."""

    tasks: int
    finished_tasks: int
    annotations: int
    skipped: int
    ground_truth: int
    predictions: int


@dataclass(frozen=True)
class Person:
    """One account."""

    person_id: int
    email: str
    name: str


def moment(text: str) -> datetime:
    """A Label Studio time as an aware UTC datetime with microseconds."""
    return datetime.fromisoformat(text).astimezone(UTC)


def wire_moment(at: datetime) -> str:
    """A time as the task filters want it: UTC, always six digits."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def annotation_row(task_id: int, raw: Mapping[str, Any]) -> AnnotationRow:
    """One annotation of a task list or an export; `completed_by` may be an id or an object."""
    person = raw.get("completed_by")
    return AnnotationRow(
        annotation_id=int(raw["id"]),
        task_id=task_id,
        result=list(raw.get("result") or []),
        person_id=person.get("id") if isinstance(person, Mapping) else person,
        was_cancelled=bool(raw.get("was_cancelled")),
        ground_truth=bool(raw.get("ground_truth")),
        created_at=moment(raw["created_at"]),
        updated_at=moment(raw["updated_at"]),
        lead_time_s=raw.get("lead_time"),
        parent_prediction=raw.get("parent_prediction"),
        import_id=raw.get("import_id"),
        last_action=raw.get("last_action"),
        bulk_created=bool(raw.get("bulk_created")),
    )


def task_row(raw: Mapping[str, Any]) -> TaskRow:
    """One task of a task list; annotations in order of their id."""
    task_id = int(raw["id"])
    annotations = sorted(raw.get("annotations") or [], key=lambda a: int(a["id"]))
    return TaskRow(
        task_id=task_id,
        data=dict(raw.get("data") or {}),
        meta=dict(raw.get("meta") or {}),
        overlap=int(raw["overlap"]),
        is_labeled=bool(raw.get("is_labeled")),
        created_at=moment(raw["created_at"]),
        updated_at=moment(raw["updated_at"]),
        annotations=tuple(annotation_row(task_id, a) for a in annotations),
    )


def shown_prediction(raw: Mapping[str, Any]) -> ShownPrediction:
    """One prediction of a task list."""
    return ShownPrediction(
        prediction_id=int(raw["id"]),
        task_id=int(raw["task"]),
        model_version=str(raw.get("model_version") or ""),
        created_at=moment(raw["created_at"]),
        score=raw.get("score"),
        result=list(raw.get("result") or []),
    )


def swept_task(raw: Mapping[str, Any]) -> SweptTask:
    """One task of the light full listing."""
    listed = str(raw.get("annotations_ids") or "")
    ids = frozenset(int(part) for part in listed.split(",") if part.strip()) if len(listed) < 500 else None
    return SweptTask(
        task_id=int(raw["id"]),
        updated_at=moment(raw["updated_at"]),
        overlap=int(raw["overlap"]),
        n_submitted=int(raw.get("total_annotations") or 0),
        n_cancelled=int(raw.get("cancelled_annotations") or 0),
        annotation_ids=ids,
    )
