"""Shapes for YOLO's rows: outlines of masks, rectangles around points, turned boxes at the edge, key points in a mirror."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelloop.errors import DataError
from labelloop.geometry import (
    bounds,
    clip_points_to_image,
    ellipse_points,
    points_area,
    rectangle_points,
    rectangle_value,
    smallest_rectangle,
    trimmed_rectangle,
)
from labelloop.masks import brush_of_pixels
from labelloop.outlines import joined_rings, mask_rings, ring_area
from labelloop.yolo_labels import box_numbers, label_row, points_numbers
from sync.formats.yolo_plan import flip_order
from sync.formats.yolo_shapes import SizeNeeded, bounds_of, corners_of, outline_of

SIZE = (200, 90)
coordinates = st.floats(-50, 250, allow_nan=False)


def covered(ring: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels whose middles lie inside a polygon, by the even-odd rule."""
    x, y = ring.T.astype(float)
    to_x, to_y = np.roll(x, -1), np.roll(y, -1)
    inside = np.zeros((height, width), dtype=bool)
    for row in range(height):
        crossed = (y > row + 0.5) != (to_y > row + 0.5)
        at = x + (to_x - x) * (row + 0.5 - y) / np.where(to_y == y, 1, to_y - y)
        for column in range(width):
            inside[row, column] = np.count_nonzero(crossed & (at > column + 0.5)) % 2
    return inside


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    return np.array(bits).reshape(height, width)


@given(masks())
def test_one_polygon_covers_exactly_the_mask(mask: NDArray[np.bool_]) -> None:
    rings = mask_rings(mask)
    assert sum(map(ring_area, rings)) == mask.sum()
    if not rings:
        assert not mask.any()
        return
    ring = joined_rings(rings)
    assert ring_area(ring) == mask.sum()
    assert (covered(ring, *mask.shape) == mask).all()


def test_holes_run_the_other_way_and_corners_alone_do_not_join() -> None:
    mask = np.ones((5, 6), dtype=bool)
    mask[2, 2:4] = False
    assert [ring_area(ring) for ring in mask_rings(mask)] == [30, -2]
    assert [ring_area(ring) for ring in mask_rings(np.eye(3, dtype=bool))] == [1, 1, 1]
    assert mask_rings(mask)[0].tolist() == [[0, 0], [6, 0], [6, 5], [0, 5]]


@given(st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=12))
def test_the_smallest_rectangle_holds_all_points(points: list[tuple[float, float]]) -> None:
    corners = smallest_rectangle(points)
    (x0, y0), (x1, y1), _, (x3, y3) = corners
    x_min, y_min, x_max, y_max = bounds(points)
    assert points_area(corners) <= (x_max - x_min) * (y_max - y_min) + 1e-6
    across, down = math.hypot(x1 - x0, y1 - y0), math.hypot(x3 - x0, y3 - y0)
    assert (x1 - x0) * (x3 - x0) + (y1 - y0) * (y3 - y0) == pytest.approx(0, abs=1e-6 * (1 + across * down))
    for x, y in points if min(across, down) > 1e-6 else ():  # what has no width has no direction either
        along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / across
        aside = ((x - x0) * (x3 - x0) + (y - y0) * (y3 - y0)) / down
        assert -1e-6 <= along <= across + 1e-6 and -1e-6 <= aside <= down + 1e-6


rectangles = st.fixed_dictionaries(
    {
        "x": st.floats(-30, 110),
        "y": st.floats(-30, 110),
        "width": st.floats(0.5, 80),
        "height": st.floats(0.5, 80),
        "rotation": st.floats(0, 359.9),
    }
)


@given(rectangles)
def test_a_trimmed_rectangle_keeps_all_that_is_on_the_image(value: dict[str, float]) -> None:
    corners = rectangle_points(value, *SIZE)
    back = rectangle_value(corners, *SIZE)
    assert rectangle_points(back, *SIZE) == [pytest.approx(corner, abs=1e-6) for corner in corners]
    inside = clip_points_to_image(corners, *SIZE)
    trimmed = trimmed_rectangle(corners, *SIZE)
    if len(inside) < 3:
        assert not trimmed
        return
    assert points_area(trimmed) <= points_area(corners) * (1 + 1e-9)
    kept = clip_points_to_image(trimmed, *SIZE)
    assert (points_area(kept) if kept else 0.0) == pytest.approx(points_area(inside), abs=1e-6)


def test_an_ellipse_is_a_polygon_of_its_area() -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 33}
    assert points_area(ellipse_points(value, 200, 100)) == pytest.approx(math.pi * 20 * 20)
    region = {"value": value | {"rotation": 90}}
    assert bounds_of("ellipse", region, (200, 100)) == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert bounds_of("ellipse", {"value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 60}}, None) == (0.4, 0, 0.6, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400, None, "left", [1], {}])
@pytest.mark.parametrize("shape_of", [bounds_of, outline_of, corners_of])
def test_a_number_that_is_none_is_refused(shape_of: Any, bad: Any) -> None:
    rectangle = {"x": bad, "y": 1, "width": 5, "height": 5, "rotation": 0}
    values = [
        ("rectangle", rectangle), ("rectangle", rectangle | {"x": 1, "rotation": bad or [2]}),
        ("polygon", {"points": [[1, 1], [bad, 2], [3, 9]]}),
        ("ellipse", {"x": 1, "y": 1, "radiusX": bad, "radiusY": 1}),
        ("brush", {"rle": [bad, 1]}),
    ]  # fmt: skip
    for kind, value in values:
        with pytest.raises(DataError):
            shape_of(kind, {"value": value, "original_width": 20, "original_height": 10}, (20, 10))


def test_rows_hold_centre_and_size_or_points() -> None:
    row = label_row(1, box_numbers((0.2, 0.4, 0.6, 0.5)))
    assert row == b"1 0.40000000 0.45000000 0.40000000 0.10000000\n"
    assert points_numbers([(0.5, 1), (0, 0.25)]) == b"0.50000000 1.00000000 0.00000000 0.25000000"


def test_a_mask_is_measured_by_its_own_pixels() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[2:6, 5:15] = True
    region = {"value": {"rle": brush_of_pixels(mask)}, "original_width": 20, "original_height": 10}
    assert bounds_of("brush", region, None) == (0.25, 0.2, 0.75, 0.6)
    assert outline_of("brush", region, None) == [(0.25, 0.2), (0.75, 0.2), (0.75, 0.6), (0.25, 0.6)]
    assert corners_of("brush", region, None) == [pytest.approx(c) for c in outline_of("brush", region, None)]
    with pytest.raises(DataError, match="original_width"):
        bounds_of("brush", {"value": region["value"]}, (20, 10))


def test_a_turn_needs_the_size_and_the_box_around_a_polygon_too() -> None:
    turned = {"value": {"x": 10, "y": 10, "width": 5, "height": 5, "rotation": 1}}
    for shape_of in (bounds_of, outline_of, corners_of):
        with pytest.raises(SizeNeeded):
            shape_of("rectangle", turned, None)
    triangle = {"value": {"points": [[10, 10], [20, 10], [10, 30]]}}
    assert len(outline_of("polygon", triangle, None)) == 3
    with pytest.raises(SizeNeeded):
        corners_of("polygon", triangle, None)


@given(rectangles)
def test_corners_are_on_the_image(value: dict[str, float]) -> None:
    try:
        corners = corners_of("rectangle", {"value": value}, SIZE)
    except DataError:
        return
    assert len(corners) == 4 and all(0 <= x <= 1 and 0 <= y <= 1 for x, y in corners)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["nose", "left_eye", "right_eye"], [0, 2, 1]),
        (["Left Eye", "Right Eye", "l_ear", "r_ear"], [1, 0, 3, 2]),
        (["LEFT", "RIGHT", "upright"], None),
        (["nose", "left eye"], None),
        (["1", "2"], None),
    ],
)
def test_a_mirror_swaps_sides_by_their_names(names: list[str], order: list[int] | None) -> None:
    assert flip_order(names) == order
