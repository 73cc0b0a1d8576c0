"""RectangleLabels: upright and turned boxes to Label Studio regions in percent, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backends.yolo.converters.frame import Frame
from labelloop.errors import DataError
from labelloop.geometry import clip_to_image, polygon_area, rectangle_corners
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


@dataclass(frozen=True)
class TurnedBox:
    """A box in pixels of the image: class index, centre, size, angle (radians, clockwise as seen), confidence."""

    label: int
    x: float
    y: float
    width: float
    height: float
    angle: float
    score: float | None = None


def boxes_to_regions(boxes: Iterable[Box], classes: Sequence[str], frame: Frame) -> tuple[Region, ...]:
    """Regions in percent; corners are clipped to the image and boxes without area left out.

    DataError when a class index is not in `classes`.
    """
    regions = []
    for number, box in enumerate(boxes):
        name = _class_name(box.label, classes)
        x0, y0, x1, y1 = (min(max(float(v), 0.0), 1.0) for v in (box.x0, box.y0, box.x1, box.y1))
        if x1 > x0 and y1 > y0:
            value = {
                "x": 100 * x0, "y": 100 * y0, "width": 100 * (x1 - x0), "height": 100 * (y1 - y0),
                "rotation": 0, REGION_TYPE: [name],
            }  # fmt: skip
            regions.append(frame.region(number, value, box.score))
    return tuple(regions)


def turned_boxes_to_regions(boxes: Iterable[TurnedBox], classes: Sequence[str], frame: Frame) -> tuple[Region, ...]:
    """Regions that Label Studio turns clockwise about their top left corner, by -45 to 45 degrees (315 to 45).

    A box that leaves the image is trimmed along its own sides to what is inside; one outside is left out.
    DataError when a class index is not in `classes`.
    """
    regions = []
    for number, box in enumerate(boxes):
        name = _class_name(box.label, classes)
        trimmed = _trimmed(_level(box), frame.width, frame.height)
        if trimmed is None:
            continue
        corner = _turned(np.array([-trimmed.width / 2, -trimmed.height / 2]), trimmed.angle)
        x, y = frame.percent(trimmed.x + corner[0], trimmed.y + corner[1])
        width, height = frame.percent(trimmed.width, trimmed.height)
        value = {
            "x": x, "y": y, "width": width, "height": height,
            "rotation": math.degrees(trimmed.angle) % 360.0, REGION_TYPE: [name],
        }  # fmt: skip
        regions.append(frame.region(number, value, box.score))
    return tuple(regions)


def region_to_turned_box(region: Region, classes: Sequence[str]) -> TurnedBox:
    """The turned box of a rectangle that carries its image's size; DataError when a number is missing or bad."""
    value, width, height = region["value"], region.get("original_width") or 0, region.get("original_height") or 0
    corners = rectangle_corners(value, width, height)
    centre, across, down = corners.mean(axis=0), corners[1] - corners[0], corners[3] - corners[0]
    angle = math.atan2(across[1], across[0])
    label = _class_index(value.get(REGION_TYPE) or [""], classes)
    size = float(np.hypot(*across)), float(np.hypot(*down))
    return TurnedBox(label, float(centre[0]), float(centre[1]), *size, angle, region.get("score"))


def _class_name(label: int, classes: Sequence[str]) -> str:
    if not 0 <= label < len(classes):
        raise DataError(f"class index {label} is outside the {len(classes)} classes of this model version")
    return classes[label]


def _class_index(labels: Sequence[str], classes: Sequence[str]) -> int:
    if labels[0] not in classes:
        raise DataError(f"class {labels[0]!r} is not among {list(classes)}")
    return classes.index(labels[0])


def _level(box: TurnedBox) -> TurnedBox:
    """The same rectangle with the sides so named that it is turned by at most 45 degrees."""
    quarters = round(box.angle / (math.pi / 2))
    width, height = (box.height, box.width) if quarters % 2 else (box.width, box.height)
    return TurnedBox(box.label, box.x, box.y, width, height, box.angle - quarters * math.pi / 2, box.score)


def _trimmed(box: TurnedBox, width: int, height: int) -> TurnedBox | None:
    """The smallest box with these sides' directions around what of it is on the image, None when nothing is."""
    half = np.array([box.width, box.height]) / 2
    own = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    centre = np.array([box.x, box.y])
    inside = clip_to_image(_turned(own, box.angle) + centre, width, height)
    if len(inside) < 3 or polygon_area(inside) <= 0:
        return None
    local = _turned(inside - centre, -box.angle)
    low, high = np.maximum(local.min(axis=0), -half), np.minimum(local.max(axis=0), half)
    moved = centre + _turned((low + high) / 2, box.angle)
    size = high - low
    return TurnedBox(box.label, float(moved[0]), float(moved[1]), float(size[0]), float(size[1]), box.angle, box.score)


def _turned(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Points (..., 2) turned clockwise as seen, y downwards."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = points @ np.array([[cos, sin], [-sin, cos]])
    return turned


def regions_to_boxes(
    result: Iterable[Region], classes: Sequence[str], control: str, width: int, height: int, item: int | None = None
) -> list[Box]:
    """Boxes of the rectangles of one control; a rotated rectangle becomes the upright box around it.

    Where a task has several images, `item` is the place of the one that is meant.

    `width` and `height` (pixels) are used where a region does not carry the image's size. Classes outside `classes`
    are left out; a rectangle with several classes gives one box for each.
    """
    index = {name: position for position, name in enumerate(classes)}
    boxes = []
    for region in result:
        if region.get("type") != REGION_TYPE or region.get("from_name") != control:
            continue
        if item is not None and region.get("item_index", 0) != item:
            continue
        corners = _corners(region, width, height)
        if corners is None:
            continue
        for label in region["value"].get(REGION_TYPE) or []:
            if label in index:
                boxes.append(Box(index[label], *corners, score=region.get("score")))
    return boxes


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
