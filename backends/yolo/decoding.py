"""A network's raw outputs to detections in pixels of the image: classes of the control, suppression, tiles merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backends.yolo.masks import InstanceMask
from backends.yolo.model_spec import Options
from backends.yolo.suppression import merge_views, rotated_kept, upright_kept
from backends.yolo.views import View

Floats = NDArray[np.floating]

SCORE_FLOOR = 0.01
#: Candidates that suppression looks at, the surest; turned boxes are compared each with each.
_MOST_UPRIGHT, _MOST_ROTATED = 30_000, 3_000


@dataclass(frozen=True)
class Detections:
    """What one control sees of one image, surest first; coordinates in pixels of the image.

    boxes: (n, 4) corners inside the image; of turned boxes (n, 5) centre, size and angle (radians, clockwise).
    scores: (n, classes of the control). others: (n,), the highest score of a class of the model that means none of
    them. points: (n, k, 3), x, y and visibility. masks: one per detection.
    """

    boxes: Floats
    scores: Floats
    others: Floats
    points: Floats | None = None
    masks: tuple[InstanceMask, ...] | None = None

    @property
    def labels(self) -> NDArray[np.intp]:
        """The index of each detection's class, (n,)."""
        found: NDArray[np.intp] = self.scores.argmax(axis=1) if self.scores.size else np.zeros(0, dtype=np.intp)
        return found

    @property
    def best(self) -> Floats:
        """Each detection's confidence, (n,)."""
        return np.asarray(self.scores.max(axis=1, initial=0.0))

    @property
    def runner_up(self) -> Floats:
        """The next highest score at the same place, whatever its class means, (n,)."""
        every = np.column_stack([self.scores, self.others, np.zeros(len(self.others))])
        return np.asarray(np.partition(every, -2, axis=1)[:, -2])


class ClassGroups:
    """The classes of a control as groups of a model's classes; a model class may belong to none."""

    def __init__(self, model_classes: Sequence[str], mapping: Mapping[str, str], classes: Sequence[str]) -> None:
        index = {name: position for position, name in enumerate(classes)}
        self.size = len(classes)
        self.target = np.array([index.get(mapping.get(name, ""), -1) for name in model_classes], dtype=np.intp)
        self._members = np.flatnonzero(self.target >= 0)
        self._members = self._members[np.argsort(self.target[self._members], kind="stable")]
        self._present, self._starts = np.unique(self.target[self._members], return_index=True)

    def highest(self, scores: Floats) -> Floats:
        """(n, control's classes): the highest score (n, model's classes) of each group."""
        return self._reduced(np.maximum, scores)

    def total(self, scores: Floats) -> Floats:
        """(n, control's classes): the sum of each group's probabilities."""
        return self._reduced(np.add, scores)

    def _reduced(self, how: np.ufunc, scores: Floats) -> Floats:
        out = np.zeros((len(scores), self.size), dtype=scores.dtype)
        if len(self._members):
            out[:, self._present] = how.reduceat(scores[:, self._members], self._starts, axis=1)
        return out

    def rest(self, scores: Floats) -> Floats:
        """(n,): the highest score of a class that belongs to no group, 0 without one."""
        return np.asarray(scores[:, self.target < 0].max(axis=1, initial=0.0))


@dataclass(frozen=True)
class _Candidates:
    """Detections of one view in input pixels; `rest` is what the head says beyond boxes and scores."""

    boxes: Floats
    scores: Floats
    others: Floats
    rest: Floats

    def taken(self, kept: NDArray[np.intp]) -> _Candidates:
        return _Candidates(self.boxes[kept], self.scores[kept], self.others[kept], self.rest[kept])


def decode_detections(
    kind: str,
    outputs: Sequence[Sequence[Floats]],
    views: Sequence[View],
    size: tuple[int, int],
    groups: ClassGroups,
    options: Options,
    *,
    floor: float = SCORE_FLOOR,
    point_shape: tuple[int, int] | None = None,
) -> Detections:
    """The detections of an image of `size` (width, height) from the raw outputs of each of its views.

    As in the detector's own post-processing, a place has the class that is surest there; it is left out where that
    class means none of the control's. Every candidate from `floor` up is kept, `options.max_det` at most.
    """
    found = [_of_view(kind, each[0], groups, options, floor) for each in outputs]
    number = np.repeat(np.arange(len(views)), [len(each.scores) for each in found])
    scores = np.concatenate([each.scores for each in found])
    others = np.concatenate([each.others for each in found])
    boxes = np.concatenate([_in_image(each.boxes, view) for each, view in zip(found, views, strict=True)])
    hulls = _clipped(_hulls(boxes), size)
    best, labels = scores.max(axis=1, initial=0.0), scores.argmax(axis=1) if scores.size else np.zeros(0, dtype=np.intp)
    if len(views) > 1:
        cut = np.concatenate([view.cuts(hulls[number == n], *size) for n, view in enumerate(views)])
        kept, merged = merge_views(hulls, best, labels, number, cut, join=kind == "detect")
    else:
        kept, merged = np.arange(len(boxes)), hulls
    upright = kind != "obb"
    kept = kept[: options.max_det]
    kept = kept[(merged[kept, 2:] > merged[kept, :2]).all(axis=1)]
    first = np.concatenate([[0], np.cumsum([len(each.scores) for each in found])])
    points, masks = [], []
    for k in kept:
        n = int(number[k])
        rest = found[n].rest[k - first[n]]
        if kind == "pose":
            points.append(_points(rest, views[n], point_shape))
        elif kind == "segment":
            masks.append(InstanceMask(views[n], outputs[n][1], rest, merged[k], size))
    return Detections(
        boxes=merged[kept] if upright else boxes[kept],
        scores=scores[kept],
        others=others[kept],
        points=np.stack(points) if points else None,
        masks=tuple(masks) if kind == "segment" else None,
    )


def _of_view(kind: str, raw: Floats, groups: ClassGroups, options: Options, floor: float) -> _Candidates:
    """Candidates of one view (4 + classes + rest, anchors) after suppression, surest first."""
    n_classes = len(groups.target)
    class_scores = raw[4 : 4 + n_classes]
    best = class_scores.max(axis=0)
    sure = np.flatnonzero(best >= floor)
    rotated = kind == "obb"
    sure = sure[np.argsort(-best[sure], kind="stable")][: _MOST_ROTATED if rotated else _MOST_UPRIGHT]
    labels = groups.target[class_scores[:, sure].argmax(axis=0)]
    sure, labels = sure[labels >= 0], labels[labels >= 0]
    picked = raw[:, sure].T
    scores, rest = picked[:, 4 : 4 + n_classes], picked[:, 4 + n_classes :]
    boxes = np.column_stack([picked[:, :4], rest[:, -1]]) if rotated else _corners(picked[:, :4])
    all_found = _Candidates(boxes, groups.highest(scores), groups.rest(scores), rest)
    kept = (rotated_kept if rotated else upright_kept)(boxes, best[sure], labels, options.iou)
    return all_found.taken(kept[: options.max_det])


def _corners(boxes: Floats) -> Floats:
    """Corners (n, 4) of boxes given by centre and size."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _in_image(boxes: Floats, view: View) -> Floats:
    """Boxes of a view in pixels of the image."""
    if boxes.shape[1] == 4:
        return view.to_image(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    return np.concatenate([view.to_image(boxes[:, :2]), boxes[:, 2:4] / view.scale, boxes[:, 4:]], axis=1)


def _hulls(boxes: Floats) -> NDArray[np.float64]:
    """The upright box around each box, as corners (n, 4)."""
    if boxes.shape[1] == 4:
        return boxes.astype(np.float64)
    cos, sin = np.abs(np.cos(boxes[:, 4])), np.abs(np.sin(boxes[:, 4]))
    width, height = boxes[:, 2] * cos + boxes[:, 3] * sin, boxes[:, 2] * sin + boxes[:, 3] * cos
    return np.asarray(_corners(np.column_stack([boxes[:, :2], width, height])), dtype=np.float64)


def _clipped(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    return np.clip(boxes, 0.0, np.array([*size, *size], dtype=np.float64))


def _points(rest: Floats, view: View, shape: tuple[int, int] | None) -> Floats:
    """(points, 3): x and y in pixels of the image, visibility (1 where the model does not tell)."""
    count, numbers = shape or (len(rest) // 3, 3)
    found = rest.reshape(count, numbers)
    seen = found[:, 2:3] if numbers > 2 else np.ones((count, 1))
    return np.concatenate([view.to_image(found[:, :2]), seen], axis=1)
