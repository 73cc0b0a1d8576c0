"""Holds what a model answers against what people labelled: per task for the gate, and in detail for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.protocols import Backend
from backends.yolo.learning.lesson import LabelledImage, Lesson
from backends.yolo.metrics import confusion, match_objects, precision_curves
from backends.yolo.scores import kind_score, kind_scores
from labelloop.values import Region, TaskItem

BACKGROUND = "background"
#: Confused pairs that are told, and classes up to which the whole matrix is.
_WORST, _MOST_CLASSES = 20, 101


@dataclass(frozen=True)
class Judged:
    """A lesson's images beside a model's answers; `items` has the results of each task, classes by name.

    `table` is the confusion matrix of what is shown (rows: truth, the last of both background); `false_alarms` counts the
    shown answers on the `backgrounds` images on which nothing is true.
    """

    lesson: Lesson
    items: Mapping[int, dict[str, Any]]
    table: list[list[int]]
    false_alarms: int
    backgrounds: int
    objects: int

    @property
    def value(self) -> float:
        """The lesson's metric."""
        return kind_score(self.lesson.kind, list(self.items.values()))

    @property
    def by_class(self) -> dict[str, float]:
        """The score of each class with truths."""
        return kind_scores(self.lesson.kind, list(self.items.values()))

    @property
    def false_alarms_per_background(self) -> float | None:
        """Shown answers on an image on which nothing is true; None where there is no such image."""
        return self.false_alarms / self.backgrounds if self.backgrounds else None

    def details(self, thresholds: Sequence[float], baseline: float) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {
            "control": self.lesson.control.name,
            "metric": self.lesson.metric,
            "value": self.value,
            "baseline": baseline,
            "by_class": self.by_class,
            "objects": self.objects,
            "show_threshold": dict(zip(self.lesson.classes, thresholds, strict=True)),
            "background_images": self.backgrounds,
            "false_positives_per_background_image": self.false_alarms_per_background,
            "confusion": self._confusion(),
            "curves": precision_curves(list(self.items.values())),
        }

    def _confusion(self) -> dict[str, Any]:
        """The matrix, of very many classes without it, and what is confused most: [truth, answer, how often]."""
        names = [*self.lesson.classes, BACKGROUND]
        wrong = [
            (count, truth, answer)
            for truth, row in enumerate(self.table)
            for answer, count in enumerate(row)
            if count and truth != answer
        ]
        worst = sorted(wrong, key=lambda each: (-each[0], each[1:]))[:_WORST]
        return {
            "classes": names,
            "truth_by_answer": self.table if len(names) <= _MOST_CLASSES else None,
            "most_confused": [[names[truth], names[answer], count] for count, truth, answer in worst],
        }


def answers_of(backend: Backend, images: Iterable[LabelledImage]) -> dict[int, tuple[Region, ...]]:
    """The regions that a model gives for each task of these images; none for one that it cannot read."""
    tasks = {image.task_id: TaskItem(image.task_id, image.data, image.media) for image in images}
    outcomes = backend.predict(list(tasks.values()))
    return {task_id: outcome.regions for task_id, outcome in zip(tasks, outcomes, strict=True)}


def judged(
    lesson: Lesson,
    images: Sequence[LabelledImage],
    answers: Mapping[int, Sequence[Region]],
    thresholds: Sequence[float] | None = None,
) -> Judged:
    """A model's answers on a lesson's images; without thresholds everything counts as shown."""
    return judged_objects(
        lesson, images, [lesson.answered(answers[image.task_id], image) for image in images], thresholds
    )


def judged_objects(
    lesson: Lesson,
    images: Sequence[LabelledImage],
    answers: Sequence[Sequence[Any]],
    thresholds: Sequence[float] | None = None,
) -> Judged:
    """The same of objects, one list for each image."""
    least = [0.0] * len(lesson.classes) if thresholds is None or not lesson.has_background else thresholds
    items: dict[int, dict[str, Any]] = {}
    table = np.zeros((len(lesson.classes) + 1,) * 2, dtype=np.int64)
    false_alarms = backgrounds = 0
    for image, said in zip(images, answers, strict=True):
        overlap = lesson.overlap(said, image.objects, image.size)
        _add(items, image.task_id, match_objects(said, image.objects, overlap, lesson.least_overlap), lesson.classes)
        shown = [at for at, each in enumerate(said) if (each.score or 0.0) >= least[each.label]]
        table += confusion(
            [said[at] for at in shown], image.objects, overlap[shown], lesson.least_overlap, len(lesson.classes)
        )
        if not image.objects:
            backgrounds += 1
            false_alarms += len(shown)
    objects = sum(len(image.objects) for image in images)
    return Judged(lesson, items, table.tolist(), false_alarms, backgrounds, objects)


def _add(items: dict[int, dict[str, Any]], task_id: int, match: Mapping[str, Any], classes: Sequence[str]) -> None:
    """The results of one image of a task beside those of its others, with the names of the classes."""
    own = items.setdefault(task_id, {"label": [], "score": [], "hit": [], "truths": {}})
    own["label"] += [classes[label] for label in match["label"]]
    own["score"] += match["score"]
    own["hit"] += match["hit"]
    for label, count in match["truths"].items():
        name = classes[int(label)]
        own["truths"][name] = own["truths"].get(name, 0) + count
