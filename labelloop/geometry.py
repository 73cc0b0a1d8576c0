"""Rectangles as Label Studio means them: percent of the image, turned clockwise about the top left corner in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import DataError

Floats = NDArray[np.float64]
#: A polygon as plain pairs: with a handful of corners several times as fast as an array.
Points = Sequence[Sequence[float]]


def rectangle_points(value: Mapping[str, Any], width: float, height: float) -> list[tuple[float, float]]:
    """The four corners of a region's rectangle in pixels, clockwise from the top left; DataError on a bad number."""
    try:
        x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
        w, h = float(value["width"]) * width / 100, float(value["height"]) * height / 100
        turn = math.radians(float(value.get("rotation") or 0.0))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected numbers x, y, width and height in a rectangle, got {dict(value)}") from error
    if not math.isfinite(x + y + w + h + turn):
        raise DataError(f"expected finite numbers in a rectangle, got {dict(value)}")
    if turn == 0.0:
        return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    sin, cos = math.sin(turn), math.cos(turn)
    across, down = (cos * w, sin * w), (-sin * h, cos * h)
    return [
        (x, y),
        (x + across[0], y + across[1]),
        (x + across[0] + down[0], y + across[1] + down[1]),
        (x + down[0], y + down[1]),
    ]


def rectangle_corners(value: Mapping[str, Any], width: float, height: float) -> Floats:
    """`rectangle_points` as an array, (4, 2)."""
    return np.array(rectangle_points(value, width, height), dtype=np.float64)


def upright_box(value: Mapping[str, Any], width: float, height: float) -> tuple[float, float, float, float] | None:
    """(x0, y0, x1, y1) of an unturned rectangle's part on an image; None for any other: take its points.

    x0 >= x1 or y0 >= y1 when nothing of it is there.
    """
    if value.get("rotation"):
        return None
    try:
        x0, y0 = value["x"] * width / 100, value["y"] * height / 100
        x1, y1 = x0 + value["width"] * width / 100, y0 + value["height"] * height / 100
    except (KeyError, TypeError):
        return None
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        return None
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return x0, y0, x1, y1
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def bounds(points: Points) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) of the upright box around one point or more."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def points_area(points: Points) -> float:
    """Area of a simple polygon by the shoelace formula; 0 for fewer than three points."""
    if len(points) < 3:
        return 0.0
    twice = 0.0
    before_x, before_y = points[-1]
    for x, y in points:
        twice += before_x * y - before_y * x
        before_x, before_y = x, y
    return abs(twice) / 2


def polygon_area(points: Floats) -> float:
    """`points_area` of an array, (n, 2)."""
    return points_area(points.tolist())


def clip_polygon(points: Floats, clip: Floats) -> Floats:
    """The part of a polygon inside a convex one (Sutherland and Hodgman 1974), (m, 2); m = 0 when they do not overlap.

    `clip` runs clockwise as seen on a screen (y downwards), like `rectangle_corners`.
    """
    return np.array(_clip(points.tolist(), clip.tolist()), dtype=np.float64).reshape(-1, 2)


def clip_points_to_image(points: Points, width: float, height: float) -> Points:
    """The part of a polygon on an image of that size; empty when there is none."""
    x0, y0, x1, y1 = bounds(points)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return points
    return _clip(points, [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)])


def clip_to_image(points: Floats, width: float, height: float) -> Floats:
    """`clip_points_to_image` of an array, (n, 2)."""
    return np.array(clip_points_to_image(points.tolist(), width, height), dtype=np.float64).reshape(-1, 2)


def _clip(points: Points, clip: Points) -> Points:
    inside = points
    for start, end in zip(clip, [*clip[1:], clip[0]], strict=True):
        if not inside:
            break
        inside = _clip_side(inside, start, end)
    return inside


def _clip_side(points: Points, start: Sequence[float], end: Sequence[float]) -> Points:
    def side(point: Sequence[float]) -> float:
        return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

    kept: list[Sequence[float]] = []
    for before, point in zip([points[-1], *points[:-1]], points, strict=True):
        was, now = side(before), side(point)
        if (was >= 0) != (now >= 0):
            share = was / (was - now)
            kept.append((before[0] + share * (point[0] - before[0]), before[1] + share * (point[1] - before[1])))
        if now >= 0:
            kept.append(point)
    return kept
