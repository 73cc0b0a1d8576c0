"""Mean average precision at IoU 0.5 from per-image matches, and the threshold above which suggestions are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.resampling import Floats, Scores, ratio
from backends.yolo.converters.rectangle_labels import Box

IOU = 0.5
_RECALLS = np.linspace(0.0, 1.0, 101)


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


def match_image(detections: Sequence[Box], truths: Sequence[Box], iou: float = IOU) -> dict[str, Any]:
    """One image's JSON-able result: {"label", "score", "hit"} lists of its detections and {"truths": {class: count}}.

    As COCO does: within a class, the surest detection first takes the free truth that it overlaps most, at least `iou`.
    """
    order = sorted(range(len(detections)), key=lambda i: -(detections[i].score or 0.0))
    overlap = box_iou(detections, truths)
    taken: set[int] = set()
    hits = []
    for i in order:
        free = [
            j for j, t in enumerate(truths)
            if j not in taken and t.label == detections[i].label and overlap[i, j] >= iou
        ]  # fmt: skip
        best = max(free, key=lambda j: float(overlap[i, j]), default=None)
        hits.append(int(best is not None))
        if best is not None:
            taken.add(best)
    counts: dict[str, int] = {}
    for truth in truths:
        counts[str(truth.label)] = counts.get(str(truth.label), 0) + 1
    return {
        "label": [detections[i].label for i in order],
        "score": [round(float(detections[i].score or 0.0), 6) for i in order],
        "hit": hits,
        "truths": counts,
    }


def average_precision(scores: Floats, hits: NDArray[np.int64], n_truths: int) -> float:
    """Area under precision and recall, interpolated at 101 recalls, 0..1; detections in any order."""
    order = np.argsort(-scores, kind="mergesort")
    true = np.cumsum(hits[order])
    return _interpolated(true / n_truths, true / np.arange(1, len(true) + 1))


def _interpolated(recall: Floats, precision: Floats) -> float:
    """The mean, over 101 recalls, of the best precision at that recall or a higher one; 0 where none is reached."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.where(at < len(envelope), np.append(envelope, 0.0)[at.clip(max=len(envelope))], 0.0).mean())


def class_average_precision(per_item: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Average precision of each class that has at least one truth among these images."""
    truths: dict[str, int] = {}
    for item in per_item:
        for label, count in item["truths"].items():
            truths[label] = truths.get(label, 0) + int(count)
    labels, scores, hits = _detections(per_item)
    return {
        label: average_precision(scores[labels == label], hits[labels == label], count)
        for label, count in sorted(truths.items())
    }


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
        found[row] = _interpolated(true / totals[row], ratio(true, said))
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
    n_classes: int,
    *,
    precision: float = 0.7,
    least_objects: int = 20,
    default: float = 0.3,
) -> list[float]:
    """The show threshold of each class, so that what is shown is right with `precision` on these images.

    A class with fewer than `least_objects` truths takes the threshold of all classes together; with fewer
    truths than that altogether it is `default`. 1.0, which shows nothing, when no threshold reaches the precision.
    """
    labels = np.array([label for item in per_item for label in item["label"]], dtype=np.int64)
    scores = np.array([score for item in per_item for score in item["score"]], dtype=np.float64)
    hits = np.array([hit for item in per_item for hit in item["hit"]], dtype=np.int64)
    counts = [sum(int(item["truths"].get(str(c), 0)) for item in per_item) for c in range(n_classes)]
    if sum(counts) < least_objects:
        return [default] * n_classes

    def threshold(chosen: NDArray[np.bool_]) -> float:
        found = precision_threshold(scores[chosen], hits[chosen], precision, least=5, lowest=0.1)
        return 1.0 if found is None else round(found, 4)

    together = threshold(np.ones(len(labels), dtype=bool))
    return [threshold(labels == c) if counts[c] >= least_objects else together for c in range(n_classes)]
