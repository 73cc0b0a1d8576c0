"""KeyPointLabels: the points of detected objects to regions, linked to the boxes around them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from backends.yolo.converters.frame import Frame
from labelloop.values import Region

REGION_TYPE = "keypointlabels"


def points_to_regions(
    points: NDArray[np.floating],
    places: Mapping[str, int],
    score: float,
    frame: Frame,
    *,
    number: int,
    size: float,
    threshold: float,
    parent: str | None = None,
) -> tuple[Region, ...]:
    """One region for each class of `places` (class: index of its point) of one object.

    `points` (k, 3): x and y in pixels of the image, and the probability that the point is visible. A point less
    visible than `threshold` or outside the image is left out. A region's score is that of the object times the
    visibility. `size` is Label Studio's, in percent of the width. `parent`: id of the region of the box around it,
    `number` tells the object from others of the image.
    """
    regions = []
    for name, index in places.items():
        x, y, seen = (float(v) for v in points[index])
        if seen < threshold or not (0 <= x <= frame.width and 0 <= y <= frame.height):
            continue
        px, py = frame.percent(x, y)
        value = {"x": px, "y": py, "width": size, REGION_TYPE: [name]}
        link = {"parentID": parent} if parent else {}
        regions.append(frame.region((number, name), value, score * min(seen, 1.0), **link))
    return tuple(regions)
