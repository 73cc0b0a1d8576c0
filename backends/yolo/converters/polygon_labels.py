"""PolygonLabels: outlines of masks to closed polygons in percent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from backends.yolo.converters.frame import Frame
from labelloop.values import Region

REGION_TYPE = "polygonlabels"


def outlines_to_regions(
    outlines: Iterable[NDArray[np.floating]], label: str, score: float | None, frame: Frame, number: int = 0
) -> tuple[Region, ...]:
    """One region for each outline (n, 2) in pixels of an instance, all with its class and score, clipped to the image.

    `number` tells the instance from others of the image.
    """
    regions = []
    for part, outline in enumerate(outlines):
        points = _distinct(np.clip(100 * outline / [frame.width, frame.height], 0.0, 100.0).tolist())
        if len(points) >= 3:
            value = {"points": points, "closed": True, REGION_TYPE: [label]}
            regions.append(frame.region((number, part), value, score))
    return tuple(regions)


def _distinct(points: Sequence[list[float]]) -> list[list[float]]:
    """The points without those that repeat the one before them."""
    return [point for before, point in zip([points[-1], *points[:-1]], points, strict=True) if point != before]
