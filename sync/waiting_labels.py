"""How far a project is from its next training: the labels that the last finished one did not have, and a pin after a rollback."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from labelloop.datasets import Dataset
from labelloop.errors import UsageError
from labelloop.store import ProjectRow, Store, TrainingRow
from labelloop.store.promotions import add_step, promotions_of
from labelloop.store.trainings import last_finished
from sync.freezing import entries_of, open_dataset
from sync.runtime import Runtime
from sync.stored_labels import label_marks
from sync.trigger import TRAINING_ROLES, labels_since

#: Steps of a promotion: an older version was wanted back, and that no longer holds.
PINNED, UNPINNED = "pinned", "unpinned"


@dataclass(frozen=True)
class Pin:
    """A version that was rolled back to. Until enough labels came after `at`, no training replaces it."""

    promotion_id: str
    model_version: str
    at: datetime


@dataclass(frozen=True)
class Waiting:
    """Labels that are new, how many a training waits for, and the version that is pinned, if one is."""

    labels: int
    every: int
    pin: Pin | None
    last: TrainingRow | None

    @property
    def holds(self) -> bool:
        """Whether the pin still holds."""
        return self.pin is not None and self.labels < self.every


def waiting(runtime: Runtime, project: ProjectRow) -> Waiting:
    """What waits. With a pin only labels made after it count: those before it made the model that nobody wanted."""
    store, project_id = runtime.store, project.project_id
    every = runtime.project_settings(project).active_learning.retrain_every_n_labels
    last = last_finished(store, project_id)
    # Before the labels are read: what comes meanwhile is new.
    seen = entries_of(_dataset(runtime, last)) if last else set()
    pin = pin_of(store, project_id)
    marks = (mark for mark in label_marks(store, project_id, TRAINING_ROLES) if pin is None or mark.at > pin.at)
    return Waiting(labels_since(marks, seen), every, pin, last)


def pin_of(store: Store, project_id: int) -> Pin | None:
    """The pin on the version promoted last; None without one, or when it was lifted by hand."""
    promotions = promotions_of(store, project_id)
    if not promotions:
        return None
    steps = {step.step: step for step in promotions[-1]}
    if PINNED not in steps or UNPINNED in steps:
        return None
    planned, pinned = steps["planned"], steps[PINNED]
    since = pinned.detail.get("since")
    at = datetime.fromisoformat(since) if since else pinned.at
    return Pin(planned.promotion_id, str(planned.detail["model_version"]), at)


def pin_detail(store: Store, project_id: int, model_version: str, *, anew: bool) -> dict[str, str] | None:
    """What a promotion's step PINNED says, None for no pin: one that holds stays when its version is only ranked again."""
    if anew:
        return {}
    pin = pin_of(store, project_id)
    return {"since": pin.at.isoformat()} if pin is not None and pin.model_version == model_version else None


def unpin(store: Store, project: ProjectRow) -> str:
    """Lift the pin; the version that was pinned. UsageError where there is none."""
    pin = pin_of(store, project.project_id)
    if pin is None:
        raise UsageError(f"no version of project {project.title!r} is pinned; `labelloop models` shows what is served")
    with store.begin() as connection:
        add_step(store, connection, project.project_id, pin.promotion_id, UNPINNED, {})
    return pin.model_version


def _dataset(runtime: Runtime, row: TrainingRow) -> Dataset:
    return open_dataset(runtime.services.artifacts, row.dataset_id, runtime.scratch("datasets"))
