"""Agreement of two people's boxes on one image: one-to-one matching by the largest sum of IoU, F1 and mean IoU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from labelloop.geometry import clip_polygon, polygon_area

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BoxAgreement:
    """How two sets of boxes agree. `pairs` are (index in the first, index in the second, IoU) of matched boxes.

    `f1` is None when both sets are empty (`both_empty`); `mean_iou` is None when nothing matched.
    """

    n_first: int
    n_second: int
    pairs: tuple[tuple[int, int, float], ...]

    @property
    def both_empty(self) -> bool:
        return self.n_first + self.n_second == 0

    @property
    def f1(self) -> float | None:
        return None if self.both_empty else 2 * len(self.pairs) / (self.n_first + self.n_second)

    @property
    def mean_iou(self) -> float | None:
        return sum(iou for _, _, iou in self.pairs) / len(self.pairs) if self.pairs else None


def iou_matrix(first: Floats, second: Floats) -> Floats:
    """IoU of every box of one set with every box of another; boxes are corners in one unit, (n, 4, 2), (m, 4, 2)."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    upright = _overlap_of_bounds(first, second)
    tilted = ~(_is_upright(first)[:, None] & _is_upright(second)[None, :])
    areas_first, areas_second = _areas(first), _areas(second)
    overlap = upright.copy()
    for i, j in np.argwhere(tilted & (upright > 0)):
        overlap[i, j] = polygon_area(clip_polygon(first[i], second[j]))
    union = areas_first[:, None] + areas_second[None, :] - overlap
    shares: Floats = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return np.minimum(shares, 1.0)


def match_boxes(
    iou: Floats, threshold: float = 0.5, allowed: NDArray[np.bool_] | None = None
) -> list[tuple[int, int, float]]:
    """The one-to-one matching with the largest sum of IoU, of pairs with at least `threshold` that are `allowed`."""
    worth = np.where(iou >= threshold, iou, 0.0)
    if allowed is not None:
        worth = np.where(allowed, worth, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(i), int(j), float(iou[i, j])) for i, j in zip(rows, columns, strict=True) if worth[i, j] > 0]


def box_agreement(
    first: Floats,
    second: Floats,
    first_labels: Sequence[str] = (),
    second_labels: Sequence[str] = (),
    *,
    threshold: float = 0.5,
    same_class: bool = True,
) -> BoxAgreement:
    """Match two people's boxes (corners, (n, 4, 2)); with `same_class`, only boxes with equal labels may match."""
    allowed = None
    if same_class:
        if len(first_labels) != len(first) or len(second_labels) != len(second):
            raise ValueError("expected one label per box; pass both lists of labels, or same_class=False")
        allowed = np.array([[a == b for b in second_labels] for a in first_labels], dtype=bool)
        allowed = allowed.reshape(len(first), len(second))
    pairs = match_boxes(iou_matrix(first, second), threshold, allowed)
    return BoxAgreement(len(first), len(second), tuple(pairs))


def _areas(boxes: Floats) -> Floats:
    across, down = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 0]
    return np.asarray(np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]), dtype=np.float64)


def _is_upright(boxes: Floats) -> NDArray[np.bool_]:
    slant = np.maximum(np.abs(boxes[:, 0, 1] - boxes[:, 1, 1]), np.abs(boxes[:, 1, 0] - boxes[:, 2, 0]))
    return np.asarray(slant < 1e-9, dtype=np.bool_)


def _overlap_of_bounds(first: Floats, second: Floats) -> Floats:
    low = np.maximum(first.min(axis=1)[:, None, :], second.min(axis=1)[None, :, :])
    high = np.minimum(first.max(axis=1)[:, None, :], second.max(axis=1)[None, :, :])
    return np.asarray(np.clip(high - low, 0.0, None).prod(axis=2), dtype=np.float64)
