"""Which of several detections of one thing remain: within one view of an image, and across its tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

#: Two views see one object a little differently: from this overlap on, two boxes of two views are the same.
_SAME_IOU = 0.45
#: A box that a tile's edge cut is a part of another when it lies inside it by that share.
_PART_SHARE = 0.5
#: Two boxes that were both cut are two parts of one when the smaller lies in the other by that share.
_JOIN_SHARE = 0.1


def upright_kept(boxes: NDArray[np.floating], scores: NDArray[np.floating], labels: Indices, iou: float) -> Indices:
    """Indices that non-maximum suppression within each class keeps, by falling score; boxes (n, 4) are corners."""
    import torch
    from torchvision.ops import batched_nms

    found = batched_nms(
        torch.from_numpy(boxes.astype(np.float32)),
        torch.from_numpy(scores.astype(np.float32)),
        torch.from_numpy(labels.astype(np.int64)),
        iou,
    )
    kept: Indices = found.numpy()
    return kept


def rotated_kept(boxes: NDArray[np.floating], scores: NDArray[np.floating], labels: Indices, iou: float) -> Indices:
    """As `upright_kept` for turned boxes (n, 5): a box goes when any surer one of its class overlaps it by more.

    The overlap is that of Gaussians with the boxes' extents (Llerena et al. 2021, arXiv:2106.06072), as oriented
    detectors are trained; comparing with surer boxes that went themselves is Fast NMS (arXiv:1904.02689).
    """
    order = np.argsort(-scores, kind="stable")
    gone = np.zeros(len(boxes), dtype=bool)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        gone[own] = np.triu(gaussian_overlap(boxes[own]) > iou, k=1).any(axis=0)
    kept: Indices = order[~gone[order]]
    return kept


def gaussian_overlap(boxes: NDArray[np.floating]) -> Floats:
    """One minus the Hellinger distance of every pair of turned boxes (centre, size, angle in radians), (n, n)."""
    x, y, width, height, angle = boxes.astype(np.float64).T
    along, across = width**2 / 12, height**2 / 12
    cos, sin = np.cos(angle), np.sin(angle)
    var_x, var_y = along * cos**2 + across * sin**2, along * sin**2 + across * cos**2
    covariance = (along - across) * cos * sin
    tiny = 1e-7
    sum_x, sum_y, sum_c = (v[:, None] + v[None, :] for v in (var_x, var_y, covariance))
    dx, dy = x[:, None] - x[None, :], y[:, None] - y[None, :]
    determinant = sum_x * sum_y - sum_c**2
    apart = (sum_x * dy**2 + sum_y * dx**2 - 2 * sum_c * dx * dy) / (4 * (determinant + tiny))
    own = np.sqrt(np.clip(var_x * var_y - covariance**2, 0, None))
    shape = np.log(determinant / (4 * own[:, None] * own[None, :] + tiny) + tiny) / 2
    distance = np.clip(apart + shape, tiny, 100.0)
    alike: Floats = 1 - np.sqrt(1 - np.exp(-distance) + tiny)
    return alike


def merge_views(
    boxes: Floats, scores: NDArray[np.floating], labels: Indices, views: Indices, cut: NDArray[np.bool_], *, join: bool
) -> tuple[Indices, Floats]:
    """(indices kept, by falling score; all boxes, those kept perhaps larger) of detections from several views.

    `boxes` (n, 4) are corners in pixels of the image, `views` the number of the view of each, `cut` whether an edge of
    its view inside the image cut it. Whole boxes go before cut ones: a cut box inside a whole one goes, and with
    `join` two cut boxes of two views that overlap become the box around both.
    """
    boxes = boxes.copy()
    kept = np.zeros(len(boxes), dtype=bool)
    for index in np.lexsort((-scores, cut)):
        rivals = np.flatnonzero(kept & (labels == labels[index]) & (views != views[index]))
        shared, own, other = _areas(boxes[index], boxes[rivals])
        smaller = np.maximum(np.minimum(own, other), 1e-9)
        if (shared > _SAME_IOU * (own + other - shared)).any():
            continue
        if cut[index]:
            if (shared > _PART_SHARE * own).any():
                continue
            partners = np.flatnonzero(cut[rivals] & (shared > _JOIN_SHARE * smaller))
            if join and len(partners):
                partner = rivals[partners[0]]
                boxes[partner, :2] = np.minimum(boxes[partner, :2], boxes[index, :2])
                boxes[partner, 2:] = np.maximum(boxes[partner, 2:], boxes[index, 2:])
                continue
        kept[index] = True
    remaining = np.flatnonzero(kept)
    return remaining[np.argsort(-scores[remaining], kind="stable")], boxes


def _areas(box: Floats, others: Floats) -> tuple[Floats, float, Floats]:
    """(shared area with each of the others, area of the box, areas of the others)."""
    sides = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    sizes = others[:, 2:] - others[:, :2]
    return sides[:, 0] * sides[:, 1], float((box[2] - box[0]) * (box[3] - box[1])), sizes[:, 0] * sizes[:, 1]
