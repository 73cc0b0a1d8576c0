"""Mean average precision from per-image matches, and the threshold above which suggestions are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backends.resampling import Floats, Scores, ratio
from backends.yolo.converters.rectangle_labels import Box

_RECALLS = np.linspace(0.0, 1.0, 101)
#: Every so many of those recalls is told in a curve.
_TOLD = 5


class Object(Protocol):
    """Something true of an image, or answered: the place of its class, a score if it is an answer."""

    @property
    def label(self) -> int: ...

    @property
    def score(self) -> float | None: ...


def box_iou(first: Sequence[Box], second: Sequence[Box]) -> Floats:
    """Intersection over union of every pair: (len(first), len(second)), 0..1; boxes in the same units."""
    a = np.array([[b.x0, b.y0, b.x1, b.y1] for b in first], dtype=float).reshape(-1, 1, 4)
    b = np.array([[b.x0, b.y0, b.x1, b.y1] for b in second], dtype=float).reshape(1, -1, 4)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None)
    shared = sides[..., 0] * sides[..., 1]
    areas = [(c[..., 2] - c[..., 0]) * (c[..., 3] - c[..., 1]) for c in (a, b)]
    union = areas[0] + areas[1] - shared
    ratio: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def match_objects(answers: Sequence[Object], truths: Sequence[Object], overlap: Floats, least: float) -> dict[str, Any]:
    """One image's JSON-able result: {"label", "score", "hit"} lists of its answers and {"truths": {class: count}}.

    As COCO does: within a class, the surest answer first takes the free truth that it overlaps most, at least `least`.
    `overlap` is (answers, truths).
    """
    order = sorted(range(len(answers)), key=lambda i: -(answers[i].score or 0.0))
    taken: set[int] = set()
    hits = []
    for i in order:
        free = [
            j for j, t in enumerate(truths)
            if j not in taken and t.label == answers[i].label and overlap[i, j] >= least
        ]  # fmt: skip
        best = max(free, key=lambda j: float(overlap[i, j]), default=None)
        hits.append(int(best is not None))
        if best is not None:
            taken.add(best)
    counts: dict[str, int] = {}
    for truth in truths:
        counts[str(truth.label)] = counts.get(str(truth.label), 0) + 1
    return {
        "label": [answers[i].label for i in order],
        "score": [round(float(answers[i].score or 0.0), 6) for i in order],
        "hit": hits,
        "truths": counts,
    }


def average_precision(scores: Floats, hits: NDArray[np.int64], n_truths: int) -> float:
    """Area under precision and recall, interpolated at 101 recalls, 0..1; detections in any order."""
    return float(_precisions(*_recall_precision(scores, hits, n_truths)).mean())


def _recall_precision(scores: Floats, hits: NDArray[np.int64], n_truths: int) -> tuple[Floats, Floats]:
    """(recall, precision) of the detections down to each, the surest first."""
    true = np.cumsum(hits[np.argsort(-scores, kind="mergesort")])
    return true / n_truths, true / np.arange(1, len(true) + 1)


def _precisions(recall: Floats, precision: Floats) -> Floats:
    """The best precision at each of 101 recalls or a higher one; 0 where none is reached."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    found: Floats = np.where(at < len(envelope), np.append(envelope, 0.0)[at.clip(max=len(envelope))], 0.0)
    return found


def class_average_precision(per_item: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Average precision of each class that has at least one truth among these images."""
    return {name: float(found.mean()) for name, found in _class_precisions(per_item).items()}


def precision_curves(per_item: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"recall": 21 recalls from 0 to 1, "precision": {class: the best precision at each or a higher one}}."""
    curves = {name: np.round(found[::_TOLD], 4).tolist() for name, found in _class_precisions(per_item).items()}
    return {"recall": np.round(_RECALLS[::_TOLD], 2).tolist(), "precision": curves}


def _class_precisions(per_item: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    truths: dict[str, int] = {}
    for item in per_item:
        for label, count in item["truths"].items():
            truths[label] = truths.get(label, 0) + int(count)
    labels, scores, hits = _detections(per_item)
    return {
        label: _precisions(*_recall_precision(scores[labels == label], hits[labels == label], count))
        for label, count in sorted(truths.items())
    }


def confusion(
    answers: Sequence[Object], truths: Sequence[Object], overlap: Floats, least: float, n_classes: int
) -> NDArray[np.int64]:
    """How often a truth of a class (row) was answered with a class (column) on one image: (classes + 1, classes + 1).

    Pairs are found whatever their classes, those that overlap most first, at least `least`; each has one partner. The last
    row counts answers where nothing is true, the last column truths that were missed.
    """
    table = np.zeros((n_classes + 1, n_classes + 1), dtype=np.int64)
    free_answers, free_truths = set(range(len(answers))), set(range(len(truths)))
    rows, columns = np.nonzero(overlap >= least)
    pairs = sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda ij: -float(overlap[ij]))
    for i, j in pairs:
        if i in free_answers and j in free_truths:
            free_answers.remove(i)
            free_truths.remove(j)
            table[truths[j].label, answers[i].label] += 1
    for i in free_answers:
        table[n_classes, answers[i].label] += 1
    for j in free_truths:
        table[truths[j].label, n_classes] += 1
    return table


def _detections(per_item: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.str_], Floats, NDArray[np.int64]]:
    """(class, score, whether it hit) of every detection, in order of the items."""
    return (
        np.array([str(label) for item in per_item for label in item["label"]], dtype=np.str_),
        np.array([score for item in per_item for score in item["score"]], dtype=np.float64),
        np.array([hit for item in per_item for hit in item["hit"]], dtype=np.int64),
    )


def mean_average_precision(per_item: Sequence[Mapping[str, Any]]) -> float:
    """mAP50 over the classes that occur among the truths, 0..1; 0.0 when there is no truth at all."""
    values = class_average_precision(per_item)
    return float(np.mean(list(values.values()))) if values else 0.0


def weighted_average_precisions(per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
    """mAP50 and each class's average precision for each row of `weights` (rounds, images).

    A detection counts as often as its image does. Detections are sorted once for all rows; each row then costs one sum
    along them, and precision is looked at where a detection hits: between hits it only falls.
    """
    labels, scores, hits = _detections(per_item)
    image = np.repeat(np.arange(len(per_item)), [len(item["label"]) for item in per_item])
    names = sorted({label for item in per_item for label, count in item["truths"].items() if count})
    counts = [[item["truths"].get(name, 0) for name in names] for item in per_item]
    truths = np.array(counts, dtype=np.float64).reshape(len(per_item), len(names))
    totals: Floats = weights @ truths
    classes: dict[str, Floats] = {}
    for at, name in enumerate(names):
        own = np.flatnonzero(labels == name)
        order = own[np.argsort(-scores[own], kind="mergesort")]
        classes[name] = _average_precisions(image[order], np.flatnonzero(hits[order]), totals[:, at], weights)
    there = totals > 0
    summed = sum((classes[name] * there[:, at] for at, name in enumerate(names)), np.zeros(len(weights)))
    items = dict(zip(names, (truths > 0).sum(axis=0).tolist(), strict=True))
    return Scores(ratio(summed, there.sum(axis=1)), classes, items)


def _average_precisions(image: NDArray[np.int64], hits: NDArray[np.int64], totals: Floats, weights: Floats) -> Floats:
    """Average precision of one class for each row of weights, from the images of its detections, surest first."""
    found = np.zeros(len(weights))
    for row in np.flatnonzero(totals > 0):
        said = np.cumsum(weights[row, image])[hits]
        true = np.cumsum(weights[row, image[hits]])
        found[row] = _precisions(true / totals[row], ratio(true, said)).mean()
    return found


def precision_threshold(
    scores: Floats, hits: NDArray[np.int64], precision: float, least: int, lowest: float
) -> float | None:
    """The lowest score from `lowest` up at which at least `least` detections remain with at least that precision."""
    order = np.argsort(-scores, kind="mergesort")
    sorted_scores = scores[order]
    reached = np.cumsum(hits[order]) / np.arange(1, len(order) + 1)
    last_of_ties = np.append(sorted_scores[1:] < sorted_scores[:-1], True) if len(order) else np.zeros(0, bool)
    enough = np.arange(1, len(order) + 1) >= least
    fits = np.flatnonzero(last_of_ties & enough & (reached >= precision) & (sorted_scores >= lowest))
    return float(sorted_scores[fits[-1]]) if len(fits) else None


def show_thresholds(
    per_item: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    precision: float = 0.7,
    least_objects: int = 20,
    default: float = 0.3,
) -> dict[str, float]:
    """The show threshold of each class, so that what is shown is right with `precision` on these images.

    A class with fewer than `least_objects` truths takes the threshold of all classes together; with fewer
    truths than that altogether it is `default`. 1.0, which shows nothing, when no threshold reaches the precision.
    """
    labels, scores, hits = _detections(per_item)
    counts = {name: sum(int(item["truths"].get(name, 0)) for item in per_item) for name in classes}
    if sum(counts.values()) < least_objects:
        return dict.fromkeys(classes, default)

    def threshold(chosen: NDArray[np.bool_]) -> float:
        found = precision_threshold(scores[chosen], hits[chosen], precision, least=5, lowest=0.1)
        return 1.0 if found is None else round(found, 4)

    together = threshold(np.ones(len(labels), dtype=bool))
    return {name: threshold(labels == name) if counts[name] >= least_objects else together for name in classes}
