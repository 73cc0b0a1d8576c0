"""Boxes as Pascal VOC has them: upright, in whole pixels that count from 1, the last one inside; and back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from labelloop.errors import DataError
from labelloop.geometry import bounds, clip_points_to_image
from labelloop.values import Region
from sync.formats.image_reading import Unfit
from sync.formats.shapes import checked_kind, drawn_mask, drawn_outline

#: Shares of a pixel by which a box may leave a whole pixel, or the image, only because numbers were rounded.
_SLACK, _OUTSIDE = 1e-6, 1e-2


Box = tuple[float, float, float, float]
"""x0, y0, x1 and y1."""


def bounds_of(kind: str, region: Region, size: tuple[int, int]) -> tuple[Box, bool]:
    """(the upright box around a region's part on the image, whether some of the region lies outside).

    `kind` is one of KINDS; DataError where nothing of it is on the image.
    """
    kind, value = checked_kind(kind, region)
    if kind == "brush":
        x, y, across, down = drawn_mask(region, value, size).box
        box, cut = (float(x), float(y), float(x + across), float(y + down)), False
    else:
        outline = drawn_outline(kind, value, size)
        inside = clip_points_to_image(outline, *size)
        box = bounds(inside) if inside else (0.0, 0.0, 0.0, 0.0)
        left, top, right, bottom = bounds(outline)
        cut = min(left, top) < -_OUTSIDE or right > size[0] + _OUTSIDE or bottom > size[1] + _OUTSIDE
    if not (box[0] < box[2] and box[1] < box[3]):
        raise DataError("nothing of it is on the image")
    return box, cut


def whole_pixels(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(xmin, ymin, xmax, ymax) of a box within an image, from 1, the last one inside; one pixel at least."""
    width, height = size
    xmin, ymin = int(x0 + _SLACK) + 1, int(y0 + _SLACK) + 1
    xmin, ymin = xmin if xmin < width else width, ymin if ymin < height else height
    xmax, ymax = ceil(x1 - _SLACK), ceil(y1 - _SLACK)
    return xmin, ymin, xmax if xmax > xmin else xmin, ymax if ymax > ymin else ymin


def corners_of(told: Sequence[str], exact: str, size: tuple[int, int]) -> Box:
    """(x0, y0, x1, y1) in pixels of an xmin, ymin, xmax and ymax; DataError when they are no box.

    `exact` are the numbers that our own export wrote beside them: they count while they still round to those.
    """
    try:
        xmin, ymin, xmax, ymax = (float(number) for number in told)
    except ValueError as error:
        raise DataError(f"expected numbers xmin, ymin, xmax and ymax in its bndbox, got {list(told)}") from error
    try:
        x0, y0, x1, y1 = (float(number) for number in exact.split(","))
        if whole_pixels(x0, y0, x1, y1, size) == (xmin, ymin, xmax, ymax):
            return x0, y0, x1, y1
    except (ValueError, OverflowError):  # there are none, or they are no numbers
        pass
    if not (xmin < xmax and ymin < ymax):
        raise Unfit("no_area", f"the box has no area: x from {told[0]} to {told[2]}, y from {told[1]} to {told[3]}")
    return xmin - 1, ymin - 1, xmax, ymax
