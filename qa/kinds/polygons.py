"""Polygons on images, concave ones too: matched one to one by their overlap (IoU), whose areas are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelloop.geometry import polygon_points
from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings
from qa.kinds.regions import Likely, classes_of, columns_of, compared, ratios_of, regions_of
from qa.kinds.shapes import Outlines
from qa.measures.matching import every_pair
from qa.measures.outline_overlap import Rings, likely_overlaps, rings_of
from qa.measures.ratings import Ints


class _Polygons:
    name = "polygons"
    headline = "f1_50"
    ratios: Mapping[str, Ratio] = ratios_of("iou", "polygons")
    class_ratios: Mapping[str, Ratio] = classes_of("iou", "polygons")
    level: Level | None = "nominal"
    judged_prefix = "class_"

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> Outlines | None:
        found = regions_of(result, control, polygon_points)
        rings = tuple(np.array(shape, dtype=np.float64) for shape in found.shapes)
        return Outlines(rings, *found.told) if rings else None

    def compare(self, readings: Readings) -> Compared:
        columns = columns_of(readings)
        rings = rings_of([ring for value in readings.values if value is not None for ring in value.rings])
        if columns.is_scaled:
            scale = np.repeat(columns.of_regions(columns.scale), rings.sizes, axis=0)
            rings = Rings(rings.points * scale, rings.starts, rings.sizes)

        def likely(left: Ints, right: Ints) -> Likely:
            for meeting, a, b in every_pair(left, right, columns.starts, columns.sizes):
                same = columns.item[a] == columns.item[b]
                meeting, a, b = meeting[same], a[same], b[same]
                at, iou = likely_overlaps(rings, a, b)
                yield meeting[at], a[at], b[at], iou

        return compared(readings, columns, likely, "iou")


POLYGONS = _Polygons()
