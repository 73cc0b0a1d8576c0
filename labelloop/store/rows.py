"""What the store gives back: small frozen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ProjectRow:
    """A project that labelloop looks after; `settings` holds its sections as the project was made with."""

    project_id: int
    title: str
    task_type: str
    backend: str
    label_config: str
    salt: str
    holdout_threshold: float | None
    settings: Mapping[str, Any]
    training_paused: bool
    created_at: datetime


@dataclass(frozen=True)
class Served:
    """What one project serves now; `generation` grows with each change."""

    project_id: int
    backend: str
    model_version: str
    serving_id: str
    digest: str
    path: str
    generation: int


@dataclass(frozen=True)
class Place:
    """A task's role, and its order key under one serving id (None: not ranked there)."""

    role: str
    order_key: float | None


@dataclass(frozen=True)
class LabelRow:
    """One person's current label of one task."""

    task_id: int
    annotation_id: int
    person_id: int
    rev_hash: str
    created_at: datetime
    updated_at: datetime
    lead_time_s: float | None
    parent_prediction: int | None
    shown_serving_id: str | None
    ground_truth: bool
    result: list[dict[str, Any]]
    role: str


@dataclass(frozen=True)
class TaskRow:
    """One task that Label Studio still has."""

    task_id: int
    data: Mapping[str, Any]
    overlap: int
    content_hash: str
    group_key: str
    role: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingRow:
    """One training attempt; `outcome` is None until it is over."""

    project_id: int
    training_id: str
    dataset_id: str
    attempt: int
    number: int
    label_count: int
    base_version: str | None
    candidate: str | None
    path: str | None
    digest: str | None
    outcome: str | None
    reason: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    registered_at: datetime | None
    metrics: Mapping[str, Any]
    cancel_asked: str | None = None


@dataclass(frozen=True)
class PromotionStep:
    """One finished step of one promotion."""

    promotion_id: str
    step: str
    at: datetime
    detail: Mapping[str, Any]
