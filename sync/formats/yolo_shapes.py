"""The shapes of regions as rows of YOLO's label files have them: fractions of the image, cut at its edge. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labelloop.errors import DataError
from labelloop.geometry import (
    Points,
    bounds,
    clip_points_to_image,
    ellipse_axes,
    ellipse_points,
    ellipse_rectangle,
    points_area,
    polygon_points,
    rectangle_points,
    smallest_rectangle,
    trimmed_rectangle,
    upright_box,
)
from labelloop.values import Region

if TYPE_CHECKING:
    from labelloop.outlines import Ring

Size = tuple[float, float]
Bounds = tuple[float, float, float, float]

_OUTLINES = {"rectangle": rectangle_points, "polygon": polygon_points, "ellipse": ellipse_points}
#: What is narrower than this share of the image has no place in eight decimals.
LEAST = 1e-8
_UNIT = (1.0, 1.0)


class SizeNeeded(DataError):
    """A turn counts in pixels, and the size of the image is not known."""


def bounds_of(kind: str, region: Region, size: Size | None) -> Bounds:
    """(x0, y0, x1, y1) of the upright box around a region; DataError when nothing of it is on the image."""
    value = region["value"]
    if kind == "rectangle" and (box := upright_box(value, 1.0, 1.0)) is not None:
        x0, y0, x1, y1 = box
    elif kind == "brush":
        x0, y0, x1, y1 = _mask_bounds(region)
    else:
        width, height = _frame(value, size)
        if kind == "ellipse":
            x0, y0, x1, y1 = _around_ellipse(value, width, height)
        else:
            points = clip_points_to_image(_OUTLINES[kind](value, width, height), width, height)
            x0, y0, x1, y1 = bounds(points) if points else (0.0, 0.0, 0.0, 0.0)
        x0, y0, x1, y1 = x0 / width, y0 / height, x1 / width, y1 / height
    if x1 - x0 < LEAST or y1 - y0 < LEAST:
        raise DataError("nothing of it is on the image")
    return x0, y0, x1, y1


def outline_of(kind: str, region: Region, size: Size | None) -> Points:
    """The outline of a region. Of a mask of several parts or with holes, all outlines are joined by bridges without width."""
    value = region["value"]
    if kind == "brush":
        return _mask_outline(region)
    width, height = _frame(value, size)
    points = clip_points_to_image(_OUTLINES[kind](value, width, height), width, height)
    return _checked([(x / width, y / height) for x, y in points])


def corners_of(kind: str, region: Region, size: Size | None) -> Points:
    """The four corners, clockwise, of the turned box of a region: its own, or the smallest one around another shape.

    A box that leaves the image is trimmed along its own sides; a corner that still lies outside moves to the edge.
    """
    (width, height), points = _turned_box(kind, region, size)
    trimmed = trimmed_rectangle(points, width, height) if points else []
    return _checked([(min(max(x / width, 0.0), 1.0), min(max(y / height, 0.0), 1.0)) for x, y in trimmed])


def _turned_box(kind: str, region: Region, size: Size | None) -> tuple[Size, Points]:
    """(size of the image in the unit of the corners, the corners); none where nothing is on the image."""
    value = region["value"]
    if kind in ("rectangle", "ellipse"):
        frame = _frame(value, size)
        return frame, (rectangle_points if kind == "rectangle" else ellipse_rectangle)(value, *frame)
    if kind == "brush":
        frame = _mask_size(region)
        inside: Points = [corner for ring in _mask_rings(region) for corner in ring.tolist()]
    else:
        frame = _known(size)
        inside = clip_points_to_image(polygon_points(value, *frame), *frame)
    return frame, smallest_rectangle(inside) if inside else []


def _frame(value: Mapping[str, Any], size: Size | None) -> Size:
    """What a shape is measured in: pixels where it is turned, else a side of one is as good."""
    return _known(size) if value.get("rotation") else _UNIT


def _known(size: Size | None) -> Size:
    if size is None:
        raise SizeNeeded("a turn counts in pixels, and the size of its image is not known")
    return size


def _around_ellipse(value: Mapping[str, Any], width: float, height: float) -> Bounds:
    (x, y), (ax, ay), (bx, by) = ellipse_axes(value, width, height)
    across, down = (ax * ax + bx * bx) ** 0.5, (ay * ay + by * by) ** 0.5
    return max(x - across, 0.0), max(y - down, 0.0), min(x + across, width), min(y + down, height)


def _checked(points: Points) -> Points:
    """The points; DataError when they hold no area."""
    if len(points) < 3 or points_area(points) <= 0.0:
        raise DataError("nothing of it is on the image")
    x0, y0, x1, y1 = bounds(points)
    if x1 - x0 < LEAST or y1 - y0 < LEAST:
        raise DataError("nothing of it is on the image")
    return points


# -- masks --------------------------------------------------------------------------------------------------------------


def _mask_size(region: Region) -> tuple[int, int]:
    width, height = region.get("original_width"), region.get("original_height")
    if type(width) is not int or type(height) is not int:
        raise DataError("a mask cannot be read without original_width and original_height")
    return width, height


def _mask_bounds(region: Region) -> Bounds:
    from labelloop.masks import mask_of_brush

    width, height = _mask_size(region)
    left, top, wide, high = mask_of_brush(region["value"].get("rle") or (), width, height).box
    return left / width, top / height, (left + wide) / width, (top + high) / height


def _mask_rings(region: Region) -> list[Ring]:
    from labelloop.masks import pixels_of_brush
    from labelloop.outlines import mask_rings

    return mask_rings(pixels_of_brush(region["value"].get("rle") or (), *_mask_size(region)))


def _mask_outline(region: Region) -> Points:
    from labelloop.outlines import joined_rings

    rings = _mask_rings(region)
    width, height = _mask_size(region)
    return _checked([(x / width, y / height) for x, y in joined_rings(rings).tolist()] if rings else [])
