"""RectangleLabels with model_obb="true": a network learns boxes as they are turned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from backends.yolo.converters.rectangle_labels import Box
from backends.yolo.learning.detect import mean_box
from backends.yolo.learning.lesson import (
    Floats,
    LabelledImage,
    Lesson,
    Size,
    labels_in,
    own_regions,
    size_in,
)
from labelloop.errors import DataError
from labelloop.geometry import bounds, clip_polygon, points_area, rectangle_points, trimmed_rectangle
from labelloop.values import Region
from labelloop.yolo_labels import label_row, points_numbers

Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Turned:
    """A turned box: its four corners, clockwise, as fractions of the image."""

    label: int
    corners: Corners
    score: float | None = None


class TurnedLesson(Lesson):
    """Judged by mAP50 of turned boxes: those that share at least a half of what they cover together."""

    kind = "obb"
    architecture = "yolo11n-obb.yaml"
    thing = "rectangle"

    def objects(self, result: Sequence[Region], size: Size, item: int | None) -> list[Turned]:
        """Boxes, those that leave the image trimmed along their own sides."""
        found = []
        for region in own_regions(result, self.control, item):
            width, height = size_in(region, size)
            try:
                corners = trimmed_rectangle(rectangle_points(region["value"], width, height), width, height)
            except DataError:
                continue
            inside = tuple((min(max(x / width, 0.0), 1.0), min(max(y / height, 0.0), 1.0)) for x, y in corners)
            if points_area(inside) > 0:
                found += [Turned(label, inside, region.get("score")) for label in labels_in(region, self.control)]
        return found

    def row(self, thing: Turned) -> bytes:
        """Class and corners."""
        return label_row(thing.label, points_numbers(thing.corners))

    def overlap(self, answers: Sequence[Turned], truths: Sequence[Turned], size: Size) -> Floats:
        """Intersection over union of the turned boxes."""
        return turned_iou([each.corners for each in answers], [each.corners for each in truths])

    def naive(self, images: Iterable[LabelledImage]) -> list[Turned]:
        """The mean of the upright boxes around those of the commonest class."""
        turned = [each for image in images for each in image.objects]
        return [
            Turned(box.label, ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)), box.score)
            for box in mean_box([Box(each.label, *bounds(each.corners)) for each in turned])
        ]


def turned_iou(first: Sequence[Corners], second: Sequence[Corners]) -> Floats:
    """Intersection over union of every pair of convex quadrilaterals with corners clockwise: (len(first), len(second)).

    The unit does not matter, nor whether it is the same across and down: shares of areas don't change with it.
    """
    found = np.zeros((len(first), len(second)))
    spans = [[bounds(each) for each in boxes] for boxes in (first, second)]
    areas = [[points_area(each) for each in boxes] for boxes in (first, second)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = spans[0][i], spans[1][j]
            if ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1:
                shared = points_area(clip_polygon(np.array(one), np.array(other)).tolist())
                union = areas[0][i] + areas[1][j] - shared
                found[i, j] = shared / union if union > 0 else 0.0
    return found
