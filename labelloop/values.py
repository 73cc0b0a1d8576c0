"""Small frozen values that every package shares: tasks, outcomes, classes and the reasons for no result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from labelloop.errors import MediaError

Role = Literal["pool", "holdout", "gold", "blind"]
ROLES: tuple[Role, ...] = ("pool", "holdout", "gold", "blind")
#: Roles whose tasks never show a suggestion.
UNSHOWN_ROLES: frozenset[str] = frozenset({"holdout", "gold", "blind"})

OrderReason = Literal["strategy", "explore", "holdout", "gold", "blind", "cold"]

#: Why a task has no result. "ok" is the one status that carries regions.
REASONS: Mapping[str, str] = {
    "unreadable": "the file is there but does not decode",
    "not_found": "the file or address does not exist or was refused",
    "too_large": "the file is over the size limit",
    "text_missing": "the task has no text under the key that the label config names",
    "class_not_in_config": "the model's class is not in the label config",
    "deadline": "the time for this request was over before this task's turn",
    "blind": "the task's role does not allow a suggestion",
    "role_unknown": "the task's role could not be looked up, so nothing is shown",
    "no_model": "no model is served for this project yet",
    "error": "the model failed on this task",
}

Region = dict[str, Any]
"""One entry of a Label Studio `result` list: {id, from_name, to_name, type, value, score?, original_width?, ...}."""


@dataclass(frozen=True)
class TaskItem:
    """One task as a model sees it: Label Studio's data, and its media by the address that the data names.

    `media` holds the local file of each address, or why there is none; it is empty where a project has no media.
    `meta` is what Label Studio keeps beside the data and shows to nobody.
    """

    task_id: int | None
    data: Mapping[str, Any]
    media: Mapping[str, Path | MediaError] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a backend says of one task.

    `regions` carry every candidate from `score_floor` up, each with `score` = confidence in [0, 1]; what people see is
    filtered later by `show_threshold`. `uncertainty` is in [0, 1], 1 = least sure. `status` is "ok" or a key of REASONS.
    `probs` maps a class (or another unit that the backend names) to a probability, when asked for.
    `fired_rules` names the rules behind the outcome, each as "name@version".
    """

    status: str = "ok"
    regions: tuple[Region, ...] = ()
    confidence: float | None = None
    uncertainty: float | None = None
    probs: Mapping[str, float] | None = None
    embedding: tuple[float, ...] | None = None
    detail: str = ""
    fired_rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artefact:
    """What a training left behind: a folder with model/, labels.json and metrics.json, and how it was made."""

    path: Path
    params: Mapping[str, Any] = field(default_factory=dict)
    training_curve: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True)
class Metrics:
    """A model's quality on one set of items.

    `name` and `value` are the headline (higher is better, in [0, 1]); `n` counts the evaluated tasks and `n_objects` the
    boxes, spans or documents in them. `per_item` holds one JSON-able mapping per task, enough to recompute the headline on
    a resample (see `Trainer.headline`). `baseline` is what a model that learned nothing useful gets on the same items.
    `unit` says which of the two counts tells how much evidence there is. `details` holds what else people look at, JSON-able:
    confusion matrices, curves.
    """

    name: str
    value: float
    n: int
    n_objects: int
    per_item: tuple[Mapping[str, Any], ...] = ()
    baseline: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)
    unit: Literal["tasks", "objects"] = "tasks"
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """Bounds of one training: `epochs` at most (None: the trainer's default), a `seed`, and the device to use.

    After `seconds` (None: any number) no further batch is begun, by trainers that take time.
    Without `calibrate` no further model is trained for thresholds and calibration: scores still rank, and show nothing.
    """

    epochs: int | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int = 2
    calibrate: bool = True
    seconds: float | None = None
