"""Boxes that are likely wrong, judged by predicted boxes or by what most of the other people drew.

After ObjectLab (Tkachenko, Thyagarajan and Mueller 2023, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object
Detection Data"): overlooked, badly located and swapped boxes. Scores here are of single boxes: how sure the model is, times
how far the label is off. What a model does not know is no error: an extra box weighs by the share of its class that is found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from labelloop.label_config import Control
from qa.issues.finding import Finding, Label, Told, by_task, findings_of
from qa.issues.placed import Boxes, Floats, read_boxes
from qa.measures.boxes import iou_matrix, match_boxes

#: From this overlap on a box lies where the other does; below NEAR nothing is near it.
PLACED, NEAR = 0.5, 0.1
#: A prediction less sure than this does not say that something is missing, or is of another class.
SURE = 0.5
#: Two boxes of one person that overlap so far are one thing; from SAME_PLACE on, a click too many.
TWICE, SAME_PLACE = 0.8, 0.99
#: In percent of the image's side: smaller boxes are a slip of the hand.
TINY = 0.3
_LEAST_OF_CLASS = 5


def box_findings(
    labels: Sequence[Label],
    control: Control,
    predicted: Mapping[int, Boxes],
    *,
    detector: str = "predicted_boxes",
    evidence: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[Finding]:
    """Missing, extra, badly placed boxes and wrong classes by `predicted` boxes, surest first.

    `predicted` are those of the task of each annotation, by its id. One without an entry is not judged; an entry without
    boxes says that there is nothing. `evidence` is added to that of the findings of a task.
    """
    read = [(label, read_boxes(label.result, control)) for label in labels if label.annotation in predicted]
    near = [_near(boxes, predicted[label.annotation]) for label, boxes in read]
    known = _found_shares([(boxes, overlap) for (_, boxes), overlap in zip(read, near, strict=True)])
    told = (
        (label, each)
        for (label, boxes), overlap in zip(read, near, strict=True)
        for each in _compared(boxes, predicted[label.annotation], overlap, known)
    )
    return findings_of(told, control.name, detector, evidence)


def boxes_of_others(labels: Sequence[Label], control: Control) -> dict[int, Boxes]:
    """Annotation -> the boxes of at least two other people, as `_agreed` puts them together."""
    found: dict[int, Boxes] = {}
    for group in by_task(labels).values():
        if len(group) < 3:
            continue
        read = [read_boxes(label.result, control) for label in group]
        for at, label in enumerate(group):
            found[label.annotation] = _agreed([each for place, each in enumerate(read) if place != at])
    return found


def box_defects(labels: Sequence[Label], control: Control) -> list[Finding]:
    """What needs no model: boxes drawn twice, without area, tiny, or outside of the image."""
    found = []
    for label in labels:
        boxes = read_boxes(label.result, control)
        for at, kind, score, why in _defects(boxes):
            cause = "ui" if why.get("problem") else None
            found.append(
                Finding(
                    label.task, label.annotation, label.annotator, control.name, boxes.regions[at] or None, kind,
                    boxes.labels[at], None, score, "geometry", {"box": boxes.values(at), **why}, cause,
                )
            )  # fmt: skip
    return found


def _near(boxes: Boxes, predicted: Boxes) -> Floats:
    """IoU of each box with each predicted one; 0 between images of one task."""
    overlap = iou_matrix(boxes.corners, predicted.corners)
    here, there = np.array(boxes.items, dtype=np.int64), np.array(predicted.items, dtype=np.int64)
    return np.asarray(np.where(here[:, None] == there[None, :], overlap, 0.0), dtype=np.float64)


def _found_shares(read: Sequence[tuple[Boxes, Floats]]) -> dict[str, float]:
    """Of each class the share of its boxes that have a prediction near; None of classes that are too few to tell."""
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for boxes, overlap in read:
        near = overlap.max(axis=1, initial=0.0) >= NEAR
        total.update(boxes.labels)
        found.update(name for name, hit in zip(boxes.labels, near.tolist(), strict=True) if hit)
    every = sum(found.values()) / max(sum(total.values()), 1)
    return {name: found[name] / n if n >= _LEAST_OF_CLASS else every for name, n in total.items()}


def _compared(boxes: Boxes, predicted: Boxes, overlap: Floats, known: Mapping[str, float]) -> Iterator[Told]:
    """(region, type, given, suggested, score, evidence) of one label."""
    same = np.array([[a == b for b in predicted.labels] for a in boxes.labels], dtype=bool).reshape(overlap.shape)
    # What is equal in class is matched first, so that a crowd of boxes is not read as a crowd of wrong classes.
    pairs = match_boxes(np.where(same, overlap + 1.0, overlap), NEAR, overlap >= NEAR)
    matched_labels, matched_predictions = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    for i, j, _ in pairs:
        iou, sure = float(overlap[i, j]), predicted.scores[j]
        why = {
            "box": boxes.values(i),
            "predicted": predicted.values(j),
            "iou": round(iou, 4),
            "confidence": round(sure, 4),
        }
        if not same[i, j] and iou >= PLACED and sure >= SURE:
            yield boxes.regions[i] or None, "wrong_class", boxes.labels[i], predicted.labels[j], sure * iou, why
        elif same[i, j] and iou < PLACED and sure >= SURE:
            yield boxes.regions[i] or None, "low_overlap", boxes.labels[i], boxes.labels[i], sure * (1 - iou / 2), why
    for j in range(len(predicted)):
        most = float(overlap[:, j].max(initial=0.0))
        sure = predicted.scores[j]
        if j not in matched_predictions and sure >= SURE and most < PLACED:
            why = {"predicted": predicted.values(j), "iou": round(most, 4), "confidence": round(sure, 4)}
            yield None, "missing", None, predicted.labels[j], sure * (1 - most), why
    for i in range(len(boxes)):
        if i in matched_labels or overlap[i].max(initial=0.0) >= NEAR:
            continue
        # That a model says nothing tells less than that it says something: models miss more than they make up.
        share = known[boxes.labels[i]] / 2
        yield boxes.regions[i] or None, "extra", boxes.labels[i], None, share, {
            "box": boxes.values(i), "class_found": round(2 * share, 4)
        }  # fmt: skip


def _agreed(others: Sequence[Boxes]) -> Boxes:
    """One of each bunch of boxes where at least half of these people drew any, scored by how many drew this one.

    Scores are of SURE or more for what more than half drew, and for that alone: on the rest these people differ, so that it
    neither is missing anywhere nor extra.
    """
    rows = [(who, at) for who, boxes in enumerate(others) for at in range(len(boxes))]
    every = Boxes(
        np.concatenate([boxes.corners for boxes in others]),
        tuple(boxes.labels[at] for boxes in others for at in range(len(boxes))),
        ("",) * len(rows),
        (1.0,) * len(rows),
        tuple(boxes.items[at] for boxes in others for at in range(len(boxes))),
        tuple(boxes.sizes[at] for boxes in others for at in range(len(boxes))),
    )
    overlap = _near(every, every)
    same = np.array([[a == b for b in every.labels] for a in every.labels], dtype=bool).reshape(overlap.shape)
    close = same & (overlap >= PLACED)
    drawn = [len({rows[k][0] for k in np.flatnonzero(line)}) for line in overlap >= PLACED]
    support = [len({rows[k][0] for k in np.flatnonzero(line)}) for line in close]
    fit = np.where(close, overlap, 0.0).sum(axis=1)
    taken: set[int] = set()
    kept: list[tuple[int, float]] = []
    for at in sorted(range(len(rows)), key=lambda k: (-support[k], -float(fit[k]), k)):
        if at in taken or 2 * drawn[at] < len(others):
            continue
        taken |= set(np.flatnonzero(close[at]).tolist())
        kept.append((at, support[at] / (len(others) + 1)))
    at_all = [at for at, _ in kept]
    return Boxes(
        every.corners[at_all], tuple(every.labels[at] for at in at_all), ("",) * len(kept),
        tuple(score for _, score in kept), tuple(every.items[at] for at in at_all), tuple(every.sizes[at] for at in at_all),
    )  # fmt: skip


def _defects(boxes: Boxes) -> Iterator[tuple[int, str, float, dict[str, Any]]]:
    """(place, type, score, evidence) of what is wrong with the boxes of one label by themselves."""
    overlap = _near(boxes, boxes)
    for i in range(len(boxes)):
        x, y, width, height = boxes.values(i)
        outside = max(-x, -y, x + width - 100, y + height - 100)
        if min(width, height) <= 0:
            yield i, "extra", 1.0, {"problem": "no area"}
        elif min(width, height) < TINY:
            yield i, "extra", 0.8, {"problem": "tiny"}
        elif x >= 100 or y >= 100 or x + width <= 0 or y + height <= 0:
            yield i, "extra", 1.0, {"problem": "outside of the image"}
        elif outside > 1.0:
            yield i, "low_overlap", min(0.5 + outside / 100, 1.0), {"problem": "reaches out of the image"}
        twins: dict[str, list[float]] = defaultdict(list)
        for j in range(i):
            if boxes.labels[i] == boxes.labels[j] and overlap[i, j] >= TWICE:
                twins[boxes.regions[j]].append(float(overlap[i, j]))
        if twins:
            other, most = max(((name, max(each)) for name, each in twins.items()), key=lambda each: each[1])
            problem = {"problem": "the same box again"} if most >= SAME_PLACE else {}
            yield i, "duplicate", most, {"other": other, "iou": round(most, 4), **problem}
