"""How alike two regions are, by the name of their kind: what matching, clusters and label errors of single regions stand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelloop.masks import Mask
from qa.kinds.shapes import Boxes, Brushed, Outlines, Points, Spans
from qa.measures.boxes import iou_matrix
from qa.measures.key_points import point_likeness
from qa.measures.mask_overlap import dice_and_iou
from qa.measures.outline_overlap import common_areas, rings_of, shares
from qa.measures.ratings import Floats
from qa.measures.span_matching import Placed as PlacedSpan
from qa.measures.span_matching import span_iou_matrix

#: Width and height of an image in the unit of its shapes.
Size = tuple[float, float]


@dataclass(frozen=True)
class Likeness:
    """What tells how alike regions of one kind are.

    `shapes` are those of a reading (`qa.kinds.shapes`), one for each of its regions: corners (4, 2) of boxes, rings (k, 2),
    masks, points (2,), and (place, start, end) of spans. `alike` takes two lists of shapes and the size of the
    image that they lie in, and gives (n, m) in [0, 1]: IoU, for points their object keypoint similarity.
    """

    shapes: Callable[[Any], Sequence[Any]]
    alike: Callable[[Sequence[Any], Sequence[Any], Size], Floats]


def _boxes(first: Sequence[Floats], second: Sequence[Floats], size: Size) -> Floats:
    return iou_matrix(np.array(first).reshape(-1, 4, 2), np.array(second).reshape(-1, 4, 2))


def _outlines(first: Sequence[Floats], second: Sequence[Floats], size: Size) -> Floats:
    a, b = _every(len(first), len(second))
    found = shares(*common_areas(rings_of([*first, *second]), a, b + len(first)))
    return found.reshape(len(first), len(second))


def _masks(first: Sequence[Mask], second: Sequence[Mask], size: Size) -> Floats:
    found = np.zeros((len(first), len(second)))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            found[i, j] = dice_and_iou(one, other)[1] if one.area or other.area else 0.0
    return found


def _points(first: Sequence[Floats], second: Sequence[Floats], size: Size) -> Floats:
    a, b = _every(len(first), len(second))
    places, others = np.array(first).reshape(-1, 2), np.array(second).reshape(-1, 2)
    found = point_likeness(places[a], others[b], np.full(len(a), float(np.hypot(*size))))
    return found.reshape(len(first), len(second))


def _spans(first: Sequence[PlacedSpan], second: Sequence[PlacedSpan], size: Size) -> Floats:
    return span_iou_matrix(first, second)


def _every(n: int, m: int) -> tuple[Any, Any]:
    """The places of every pair, row by row."""
    at = np.indices((n, m)).reshape(2, -1)
    return at[0], at[1]


def _corners(reading: Boxes) -> Sequence[Floats]:
    return list(reading.corners)


def _rings(reading: Outlines) -> Sequence[Floats]:
    return reading.rings


def _brushed(reading: Brushed) -> Sequence[Mask]:
    return reading.masks


def _places(reading: Points) -> Sequence[Floats]:
    return list(reading.places)


def _ends(reading: Spans) -> Sequence[PlacedSpan]:
    return list(zip(reading.places, reading.starts, reading.ends, strict=True))


#: name of a kind of regions -> what tells how alike they are
LIKENESS: Mapping[str, Likeness] = {
    "boxes": Likeness(_corners, _boxes),
    "polygons": Likeness(_rings, _outlines),
    "masks": Likeness(_brushed, _masks),
    "points": Likeness(_places, _points),
    "spans": Likeness(_ends, _spans),
}
