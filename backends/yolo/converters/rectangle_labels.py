"""RectangleLabels: boxes in fractions of the image to Label Studio regions in percent, and back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labelloop.errors import DataError
from labelloop.values import Region

REGION_TYPE = "rectanglelabels"


@dataclass(frozen=True)
class Box:
    """An upright box: class index, corners as fractions of the image (0..1, y downwards), confidence if predicted."""

    label: int
    x0: float
    y0: float
    x1: float
    y1: float
    score: float | None = None


def boxes_to_regions(
    boxes: Iterable[Box], classes: Sequence[str], control: str, to_name: str, width: int, height: int
) -> tuple[Region, ...]:
    """Regions of an image of `width` x `height` pixels; corners are clipped to it and boxes without area left out.

    DataError when a class index is not in `classes`.
    """
    regions = []
    for index, box in enumerate(boxes):
        if not 0 <= box.label < len(classes):
            raise DataError(f"class index {box.label} is outside the {len(classes)} classes of this model version")
        x0, y0, x1, y1 = (min(max(float(v), 0.0), 1.0) for v in (box.x0, box.y0, box.x1, box.y1))
        if x1 <= x0 or y1 <= y0:
            continue
        region: Region = {
            "id": _region_id(index, box),
            "from_name": control,
            "to_name": to_name,
            "type": REGION_TYPE,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "x": 100 * x0, "y": 100 * y0, "width": 100 * (x1 - x0), "height": 100 * (y1 - y0),
                "rotation": 0, REGION_TYPE: [classes[box.label]],
            },
        }  # fmt: skip
        if box.score is not None:
            region["score"] = min(max(float(box.score), 0.0), 1.0)
        regions.append(region)
    return tuple(regions)


def regions_to_boxes(
    result: Iterable[Region], classes: Sequence[str], control: str, width: int, height: int
) -> list[Box]:
    """Boxes of the rectangles of one control; a rotated rectangle becomes the upright box around it.

    `width` and `height` (pixels) are used where a region does not carry the image's size. Classes outside `classes`
    are left out; a rectangle with several classes gives one box for each.
    """
    index = {name: position for position, name in enumerate(classes)}
    boxes = []
    for region in result:
        if region.get("type") != REGION_TYPE or region.get("from_name") != control:
            continue
        corners = _corners(region, width, height)
        if corners is None:
            continue
        for label in region["value"].get(REGION_TYPE) or []:
            if label in index:
                boxes.append(Box(index[label], *corners, score=region.get("score")))
    return boxes


def _region_id(index: int, box: Box) -> str:
    text = f"{index}:{box.label}:{box.x0:.6f}:{box.y0:.6f}:{box.x1:.6f}:{box.y1:.6f}"
    return "y" + hashlib.blake2s(text.encode(), digest_size=5).hexdigest()


def _corners(region: Region, width: int, height: int) -> tuple[float, float, float, float] | None:
    """The upright hull (x0, y0, x1, y1) in fractions, clipped to the image; None when nothing is left of it."""
    value = region.get("value") or {}
    try:
        x, y, w, h = (float(value[key]) / 100 for key in ("x", "y", "width", "height"))
        turn = math.radians(float(value.get("rotation") or 0))
    except (KeyError, TypeError, ValueError):
        return None
    wide, high = region.get("original_width") or width, region.get("original_height") or height
    # Label Studio turns a rectangle clockwise about its top left corner, in pixels.
    cos, sin = math.cos(turn), math.sin(turn)
    across, down = (w * wide * cos / wide, w * wide * sin / high), (-h * high * sin / wide, h * high * cos / high)
    xs = [x, x + across[0], x + down[0], x + across[0] + down[0]]
    ys = [y, y + across[1], y + down[1], y + across[1] + down[1]]
    x0, x1 = max(min(xs), 0.0), min(max(xs), 1.0)
    y0, y1 = max(min(ys), 0.0), min(max(ys), 1.0)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
