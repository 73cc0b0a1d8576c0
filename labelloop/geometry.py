"""Rectangles as Label Studio means them: percent of the image, turned clockwise about the top left corner in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labelloop.errors import DataError

if TYPE_CHECKING:
    # Nearly all is done with plain pairs; only the functions of arrays need NumPy, whose import takes 0.1 s.
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: A polygon as plain pairs: with a handful of corners several times as fast as an array.
Points = Sequence[Sequence[float]]
_INFINITE = math.inf


def rectangle_points(value: Mapping[str, Any], width: float, height: float) -> list[tuple[float, float]]:
    """The four corners of a region's rectangle in pixels, clockwise from the top left; DataError on a bad number."""
    try:
        x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
        w, h = float(value["width"]) * width / 100, float(value["height"]) * height / 100
        turn = math.radians(float(value.get("rotation") or 0.0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
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
    import numpy as np

    return np.array(rectangle_points(value, width, height), dtype=np.float64)


def rectangle_value(corners: Points, width: float, height: float) -> dict[str, float]:
    """The inverse of `rectangle_points`: x, y, width and height in percent, and rotation in [0, 360), of four corners.

    They run clockwise from the one that counts as top left.
    """
    (x0, y0), (x1, y1), (x2, y2), _ = corners
    return {
        "x": x0 * 100 / width,
        "y": y0 * 100 / height,
        "width": math.hypot(x1 - x0, y1 - y0) * 100 / width,
        "height": math.hypot(x2 - x1, y2 - y1) * 100 / height,
        "rotation": math.degrees(math.atan2(y1 - y0, x1 - x0)) % 360.0,
    }


def polygon_points(value: Mapping[str, Any], width: float, height: float) -> list[tuple[float, float]]:
    """The corners in pixels of a region's polygon; DataError unless they are three finite ones or more."""
    across, down = width / 100, height / 100
    try:
        points = [(float(x) * across, float(y) * down) for x, y in value["points"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError("expected a list of [x, y] in points") from error
    if len(points) < 3 or not all(math.isfinite(x + y) for x, y in points):
        raise DataError(f"expected three finite points or more, got {len(points)}")
    return points


def ellipse_axes(value: Mapping[str, Any], width: float, height: float) -> list[tuple[float, float]]:
    """The centre of a region's ellipse and its two half axes as seen from there, in pixels; DataError on a bad number."""
    try:
        x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
        across, down = float(value["radiusX"]) * width / 100, float(value["radiusY"]) * height / 100
        turn = math.radians(float(value.get("rotation") or 0.0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"expected numbers x, y, radiusX and radiusY in an ellipse, got {dict(value)}") from error
    if not math.isfinite(x + y + across + down + turn):
        raise DataError(f"expected finite numbers in an ellipse, got {dict(value)}")
    sin, cos = math.sin(turn), math.cos(turn)
    return [(x, y), (cos * across, sin * across), (-sin * down, cos * down)]


def ellipse_rectangle(value: Mapping[str, Any], width: float, height: float) -> list[tuple[float, float]]:
    """The corners in pixels of the rectangle along the axes of a region's ellipse, clockwise."""
    (x, y), (ax, ay), (bx, by) = ellipse_axes(value, width, height)
    return [(x + a * ax + b * bx, y + a * ay + b * by) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def ellipse_points(
    value: Mapping[str, Any], width: float, height: float, corners: int = 72
) -> list[tuple[float, float]]:
    """A polygon in pixels, clockwise, with the area of a region's ellipse."""
    (x, y), (ax, ay), (bx, by) = ellipse_axes(value, width, height)
    step = 2 * math.pi / corners
    grown = math.sqrt(step / math.sin(step))
    turns = [(grown * math.cos(step * n), grown * math.sin(step * n)) for n in range(corners)]
    return [(x + c * ax + s * bx, y + c * ay + s * by) for c, s in turns]


def upright_box(value: Mapping[str, Any], width: float, height: float) -> tuple[float, float, float, float] | None:
    """(x0, y0, x1, y1) of an unturned rectangle's part on an image; None for any other: take its points.

    x0 >= x1 or y0 >= y1 when nothing of it is there.
    """
    if value.get("rotation"):
        return None
    try:
        x0, y0 = value["x"] * width / 100, value["y"] * height / 100
        x1, y1 = x0 + value["width"] * width / 100, y0 + value["height"] * height / 100
    except (KeyError, TypeError, OverflowError):
        return None
    if not (-_INFINITE < x0 < x1 < _INFINITE and -_INFINITE < y0 < y1 < _INFINITE):
        return None
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return x0, y0, x1, y1
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def bounds(points: Points) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) of the upright box around one point or more."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def smallest_rectangle(points: Points) -> list[tuple[float, float]]:
    """The corners, clockwise, of the rectangle of least area around one point or more (Freeman and Shapira 1975).

    One of its sides lies along one of the convex hull's; it is turned by less than 90 degrees.
    """
    hull = _hull(points)
    best: tuple[float, list[tuple[float, float]]] | None = None
    for (x0, y0), (x1, y1) in zip(hull, [*hull[1:], hull[0]], strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        cos, sin = ((x1 - x0) / length, (y1 - y0) / length) if length else (1.0, 0.0)
        while not (cos > 0.0 and sin >= 0.0):  # the same rectangle, named from another of its sides
            cos, sin = sin, -cos
        left, top, right, bottom = bounds([(cos * x + sin * y, cos * y - sin * x) for x, y in hull])
        area = (right - left) * (bottom - top)
        if best is None or area < best[0]:
            turned = ((left, top), (right, top), (right, bottom), (left, bottom))
            best = area, [(cos * a - sin * b, sin * a + cos * b) for a, b in turned]
    return best[1] if best is not None else []


def _hull(points: Points) -> list[tuple[float, float]]:
    """The convex hull without points on its sides (Andrew 1979)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return ordered
    half: list[list[tuple[float, float]]] = []
    for run in (ordered, ordered[::-1]):
        chain: list[tuple[float, float]] = []
        for point in run:
            while len(chain) > 1 and _bend(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        half.append(chain[:-1])
    return half[0] + half[1]


def _bend(a: Sequence[float], b: Sequence[float], c: Sequence[float]) -> float:
    """Above 0 when the way from a by b to c bends clockwise as seen, y downwards."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


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
    import numpy as np

    return np.array(_clip(points.tolist(), clip.tolist()), dtype=np.float64).reshape(-1, 2)


def clip_points_to_image(points: Points, width: float, height: float) -> Points:
    """The part of a polygon on an image of that size; empty when there is none."""
    x0, y0, x1, y1 = bounds(points)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return points
    return _clip(points, [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)])


def trimmed_rectangle(corners: Points, width: float, height: float) -> Points:
    """The smallest rectangle with the same directions around what of one is on an image, in the same order of corners.

    Empty when nothing is there. Its own corners may still lie outside the image.
    """
    x0, y0, x1, y1 = bounds(corners)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return corners
    inside = clip_points_to_image(corners, width, height)
    (ox, oy), (ax, ay), _, (bx, by) = corners
    across, down = math.hypot(ax - ox, ay - oy), math.hypot(bx - ox, by - oy)
    if len(inside) < 3 or not across or not down:
        return []
    (ux, uy), (vx, vy) = ((ax - ox) / across, (ay - oy) / across), ((bx - ox) / down, (by - oy) / down)
    low, top, high, bottom = bounds([((x - ox) * ux + (y - oy) * uy, (x - ox) * vx + (y - oy) * vy) for x, y in inside])
    low, top, high, bottom = max(low, 0.0), max(top, 0.0), min(high, across), min(bottom, down)
    turned = ((low, top), (high, top), (high, bottom), (low, bottom))
    return [(ox + a * ux + b * vx, oy + a * uy + b * vy) for a, b in turned]


def clip_to_image(points: Floats, width: float, height: float) -> Floats:
    """`clip_points_to_image` of an array, (n, 2)."""
    import numpy as np

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
