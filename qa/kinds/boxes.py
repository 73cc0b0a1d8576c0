"""Rectangles and ellipses on images, upright and turned: matched one to one by their overlap (IoU)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from labelloop.geometry import ellipse_rectangle, rectangle_points
from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings
from qa.kinds.regions import Columns, Likely, classes_of, columns_of, compared, ratios_of, regions_of
from qa.kinds.shapes import Boxes
from qa.measures.box_columns import BoxColumns, box_matches
from qa.measures.ratings import Ints

ELLIPSES = ("EllipseLabels", "Ellipse")


class _Boxes:
    name = "boxes"
    headline = "f1_50"
    ratios: Mapping[str, Ratio] = ratios_of("iou", "boxes")
    class_ratios: Mapping[str, Ratio] = classes_of("iou", "boxes")
    level: Level | None = "nominal"
    judged_prefix = "class_"

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> Boxes | None:
        is_ellipse = control.tag in ELLIPSES
        found = regions_of(result, control, ellipse_rectangle if is_ellipse else rectangle_points)
        return Boxes(np.array(found.shapes, dtype=np.float64), *found.told, is_ellipse) if found.shapes else None

    def compare(self, readings: Readings) -> Compared:
        columns = columns_of(readings)
        boxes = _in_columns(readings, columns)

        def likely(left: Ints, right: Ints) -> Likely:
            return box_matches(left, right, columns.starts, columns.sizes, columns.item, boxes)

        return compared(readings, columns, likely, "iou")


def _in_columns(readings: Readings, columns: Columns) -> BoxColumns:
    given: list[Boxes] = [value for value in readings.values if value is not None]
    corners = np.concatenate([value.corners for value in given]) if given else np.zeros((0, 4, 2))
    if columns.is_scaled:
        corners = corners * columns.of_regions(columns.scale)[:, None, :]
    is_ellipse = np.fromiter(map(attrgetter("is_ellipse"), given), np.bool_, len(given))
    if is_ellipse.any():
        is_ellipse = np.repeat(is_ellipse, columns.sizes[[value is not None for value in readings.values]])
    else:
        is_ellipse = np.zeros(len(corners), np.bool_)
    return BoxColumns(corners, is_ellipse)


BOXES = _Boxes()
