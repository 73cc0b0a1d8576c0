"""Key points on images: matched one to one by how near they lie, beside the size of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelloop.errors import DataError
from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings
from qa.kinds.regions import Likely, classes_of, columns_of, compared, ratios_of, regions_of
from qa.kinds.shapes import Points
from qa.measures.key_points import point_likeness
from qa.measures.matching import MATCHED, every_pair
from qa.measures.ratings import Ints


class _Points:
    name = "points"
    headline = "f1_50"
    ratios: Mapping[str, Ratio] = ratios_of("oks", "points")
    class_ratios: Mapping[str, Ratio] = classes_of("oks", "points")
    level: Level | None = "nominal"
    judged_prefix = "class_"

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> Points | None:
        found = regions_of(result, control, _place)
        return Points(np.array(found.shapes, dtype=np.float64), *found.told) if found.shapes else None

    def compare(self, readings: Readings) -> Compared:
        columns = columns_of(readings)
        given = [value.places for value in readings.values if value is not None]
        places = np.concatenate(given) if given else np.zeros((0, 2))
        if columns.is_scaled:
            places = places * columns.of_regions(columns.scale)
        diagonal = np.hypot(*columns.size.T)

        def likely(left: Ints, right: Ints) -> Likely:
            for meeting, a, b in every_pair(left, right, columns.starts, columns.sizes):
                both = np.maximum(diagonal[left], diagonal[right])[meeting]
                oks = point_likeness(places[a], places[b], both)
                at = np.flatnonzero((oks >= MATCHED) & (columns.item[a] == columns.item[b]))
                yield meeting[at], a[at], b[at], oks[at]

        return compared(readings, columns, likely, "oks")


def _place(value: Mapping[str, Any], width: float, height: float) -> tuple[float, float]:
    try:
        x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"expected numbers x and y in a key point, got {dict(value)}") from error
    if not math.isfinite(x + y):
        raise DataError(f"expected finite numbers in a key point, got {dict(value)}")
    return x, y


POINTS = _Points()
