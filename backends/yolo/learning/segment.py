"""PolygonLabels and BrushLabels: a network learns the outline of each object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backends.yolo.converters import brush_labels
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
from backends.yolo.metrics import box_iou
from labelloop.errors import DataError
from labelloop.geometry import Points, bounds, clip_points_to_image, points_area, polygon_points
from labelloop.masks import Mask, joined, mask_of_brush, mask_of_polygons, resized
from labelloop.outlines import joined_rings, mask_rings
from labelloop.values import Region
from labelloop.yolo_labels import label_row, points_numbers


@dataclass(frozen=True)
class Outline:
    """An object on an image of `size`: a polygon in fractions of it, or a mask that was painted."""

    label: int
    size: Size
    polygon: Points = ()
    painted: Mask | None = None
    score: float | None = None

    @cached_property
    def mask(self) -> Mask:
        """The pixels whose centres it covers."""
        if self.painted is not None:
            return self.painted
        width, height = self.size
        return mask_of_polygons([[(x * width, y * height) for x, y in self.polygon]], width, height)

    @cached_property
    def points(self) -> Points:
        """One polygon around it in fractions; parts and holes of a mask are joined by bridges without width."""
        if self.painted is None:
            return self.polygon
        ring: Points = (joined_rings(mask_rings(self.painted.pixels())) / np.array(self.size)).tolist()
        return ring

    @cached_property
    def box(self) -> Box:
        """The upright box around it, in fractions."""
        if self.painted is None:
            return Box(self.label, *bounds(self.polygon))
        x, y, wide, high = self.painted.box
        width, height = self.size
        return Box(self.label, x / width, y / height, (x + wide) / width, (y + high) / height)


class OutlineLesson(Lesson):
    """Judged by mAP50 of masks: an answer hits where the pixels' intersection over union is at least a half."""

    kind = "segment"
    architecture = "yolo11n-seg.yaml"
    thing = "outline"

    def objects(self, result: Sequence[Region], size: Size, item: int | None) -> list[Outline]:
        """Outlines, cut at the image's edge; each region is an object of its own."""
        found = []
        for region in own_regions(result, self.control, item):
            try:
                outline = self._outline(region, size_in(region, size))
            except DataError:
                continue
            if outline is not None:
                polygon, painted = outline
                found += [
                    Outline(label, size_in(region, size), polygon, painted, region.get("score"))
                    for label in labels_in(region, self.control)
                ]
        return found

    def _outline(self, region: Region, size: Size) -> tuple[Points, Mask | None] | None:
        width, height = size
        if self.control.region_type == brush_labels.REGION_TYPE:
            mask = mask_of_brush(region["value"].get("rle") or (), width, height)
            return ((), mask) if mask.area else None
        points = clip_points_to_image(polygon_points(region["value"], width, height), width, height)
        polygon = [(x / width, y / height) for x, y in points]
        return (polygon, None) if points_area(polygon) > 0 else None

    def row(self, thing: Outline) -> bytes:
        """Class and the points of the outline."""
        return label_row(thing.label, points_numbers(thing.points))

    def overlap(self, answers: Sequence[Outline], truths: Sequence[Outline], size: Size) -> Floats:
        """Intersection over union of the pixels."""
        found = box_iou([each.box for each in answers], [each.box for each in truths])
        for i, j in zip(*np.nonzero(found), strict=True):
            found[i, j] = mask_iou(answers[i].mask, truths[j].mask)
        return found

    def naive(self, images: Iterable[LabelledImage]) -> list[Outline]:
        """The mean box around those of the commonest class, as an outline."""
        outlines = [each for image in images for each in image.objects]
        return [
            Outline(
                box.label, outlines[0].size,
                ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)), score=box.score,
            )
            for box in mean_box([each.box for each in outlines])
        ]  # fmt: skip


def mask_iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks, 0..1; the first is brought to the size of the other."""
    fitted = resized(one, other.width, other.height)
    union = joined([fitted, other]).area
    return (fitted.area + other.area - union) / union if union else 0.0
