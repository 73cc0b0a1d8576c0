"""Spans of two people matched one to one by how far they overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from qa.measures.ratings import Floats, Ints

#: (what it lies in, start, end); spans in different places never overlap.
Placed = tuple[str, float, float]


def relaxed_matches(first: Sequence[Placed], second: Sequence[Placed]) -> list[tuple[int, int, float]]:
    """(place in the first, place in the second, IoU) of the one-to-one matching with the largest sum of IoU."""
    near: list[tuple[int, int, float]] = [
        (i, j, iou) for i, a in enumerate(first) for j, b in enumerate(second) if (iou := span_iou(a, b)) > 0
    ]
    rows, columns = {i for i, _, _ in near}, {j for _, j, _ in near}
    if len(near) == len(rows) == len(columns):
        return near
    # Some span overlaps several: which goes with which is decided over all of them.
    worth = np.zeros((len(first), len(second)))
    for i, j, iou in near:
        worth[i, j] = iou
    matched = zip(*(each.tolist() for each in linear_sum_assignment(worth, maximize=True)), strict=True)
    return [(i, j, float(worth[i, j])) for i, j in matched if worth[i, j] > 0]


def span_iou(a: Placed, b: Placed) -> float:
    """The share of what two spans cover that both cover; an empty span overlaps its like alone."""
    if a[0] != b[0]:
        return 0.0
    if a == b:
        return 1.0
    common = min(a[2], b[2]) - max(a[1], b[1])
    every = max(a[2], b[2]) - min(a[1], b[1])
    return common / every if common > 0 and every > 0 else 0.0


def span_iou_matrix(first: Sequence[Placed], second: Sequence[Placed]) -> Floats:
    """`span_iou` of every span of one list with every one of another, (n, m)."""
    codes: dict[str, int] = {}
    (a, start, end), (b, other_start, other_end) = (_columns(spans, codes) for spans in (first, second))
    common = np.minimum(end[:, None], other_end) - np.maximum(start[:, None], other_start)
    every = np.maximum(end[:, None], other_end) - np.minimum(start[:, None], other_start)
    near = (common > 0) & (every > 0)
    found: Floats = np.divide(common, every, out=np.zeros_like(common), where=near)
    found[(start[:, None] == other_start) & (end[:, None] == other_end)] = 1.0
    return np.where(a[:, None] == b, found, 0.0)


def _columns(spans: Sequence[Placed], codes: dict[str, int]) -> tuple[Ints, Floats, Floats]:
    """(code of the place, start, end) of spans."""
    place = np.fromiter((codes.setdefault(span[0], len(codes)) for span in spans), np.int64, len(spans))
    ends = np.array([span[1:] for span in spans], dtype=np.float64).reshape(-1, 2)
    return place, ends[:, 0], ends[:, 1]
