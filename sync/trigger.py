"""When to train: derived from the labels and the last finished attempt's dataset, never from a counter that could drift."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

#: Roles whose labels train a model and count towards the next training.
TRAINING_ROLES = ("pool", "blind")
LabelKey = tuple[int, int, str]


class Marked(Protocol):
    """What the trigger looks at in a label."""

    @property
    def task_id(self) -> int: ...

    @property
    def annotation_id(self) -> int: ...

    @property
    def rev_hash(self) -> str: ...

    @property
    def role(self) -> str: ...


@dataclass(frozen=True)
class Decision:
    """Whether to train now, how many labels are new, and why or why not."""

    train: bool
    labels_since: int
    reason: str


def label_key(label: Marked) -> LabelKey:
    """What makes a label the same label: its task, its annotation and the hash of its content."""
    return (label.task_id, label.annotation_id, label.rev_hash)


def labels_since(labels: Iterable[Marked], seen: Collection[LabelKey]) -> int:
    """How many training labels the last finished attempt did not have; a corrected label counts again."""
    return sum(1 for label in labels if label.role in TRAINING_ROLES and label_key(label) not in seen)


def decide(
    since: int, every: int, *, running: bool, paused: bool, enabled: bool = True, overdue: bool = False
) -> Decision:
    """Train when `every` labels are new, no training of the project runs and none forbids it.

    `overdue`: the last training is as long ago as the schedule allows; then one new label is enough.
    """
    if not enabled:
        return Decision(False, since, "active_learning.enabled is false")
    if paused:
        return Decision(False, since, "training is paused")
    if running:
        return Decision(False, since, "a training of this project runs")
    if overdue and 0 < since < every:
        return Decision(True, since, f"{since} new labels, and the last training is long ago")
    if since < every:
        return Decision(False, since, f"{since} of {every} new labels")
    return Decision(True, since, f"{since} new labels, {every} are enough")
