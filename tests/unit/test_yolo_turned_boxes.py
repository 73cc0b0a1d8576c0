"""Turned boxes to Label Studio's rectangles, which turn clockwise about their top left corner in pixels, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.yolo.converters.frame import Frame
from backends.yolo.converters.rectangle_labels import TurnedBox, region_to_turned_box, turned_boxes_to_regions
from labelloop.errors import DataError
from labelloop.geometry import rectangle_corners

CLASSES = ("ship", "plane")


def corners(box: TurnedBox) -> np.ndarray:
    """The corners of a box in pixels, in any order; clockwise turns, y downwards."""
    cos, sin = math.cos(box.angle), math.sin(box.angle)
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [box.width / 2, box.height / 2]
    return half @ np.array([[cos, sin], [-sin, cos]]) + [box.x, box.y]


def furthest(one: np.ndarray, other: np.ndarray) -> float:
    """The distance to the nearest of the others, of the point for which that is largest."""
    return float(np.linalg.norm(one[:, None] - other[None], axis=2).min(axis=1).max())


def to_regions(*boxes: TurnedBox, width: int = 400, height: int = 300) -> tuple[dict, ...]:
    return turned_boxes_to_regions(boxes, CLASSES, Frame("box", "im", "rectanglelabels", width, height))


@given(
    st.integers(0, 1), st.floats(-4 * math.pi, 4 * math.pi), st.floats(2, 90), st.floats(2, 90),
    st.sampled_from([(400, 300), (300, 900), (1000, 250)]), st.floats(0, 1),
)  # fmt: skip
def test_a_box_inside_survives_the_way_there_and_back(label, angle, wide, high, size, score):
    box = TurnedBox(label, size[0] / 2 + 7, size[1] / 2 - 3, wide, high, angle, score)
    (region,) = to_regions(box, width=size[0], height=size[1])
    drawn = rectangle_corners(region["value"], *size)
    assert furthest(corners(box), drawn) < 1e-6 and furthest(drawn, corners(box)) < 1e-6
    back = region_to_turned_box(region, CLASSES)
    assert (back.label, back.score) == (label, score)
    assert furthest(corners(back), corners(box)) < 1e-6
    turn = region["value"]["rotation"]
    assert 0 <= turn <= 45 + 1e-9 or 315 - 1e-9 <= turn <= 360


def test_a_known_box_has_known_percents():
    # 40 x 20 pixels about (200, 150) of 400 x 300, turned by 30 degrees clockwise.
    (region,) = to_regions(TurnedBox(0, 200, 150, 40, 20, math.radians(30)))
    value = region["value"]
    left = 200 - 20 * math.cos(math.radians(30)) + 10 * math.sin(math.radians(30))
    top = 150 - 20 * math.sin(math.radians(30)) - 10 * math.cos(math.radians(30))
    assert (value["x"], value["y"]) == (pytest.approx(left / 4), pytest.approx(top / 3))
    assert (value["width"], value["height"]) == (pytest.approx(10), pytest.approx(20 / 3))
    assert value["rotation"] == pytest.approx(30) and "score" not in region


def test_a_quarter_turn_is_an_upright_box_with_its_sides_exchanged():
    (region,) = to_regions(TurnedBox(0, 200, 150, 40, 20, math.pi / 2))
    value = region["value"]
    assert value["rotation"] == pytest.approx(0)
    assert (value["width"] * 4, value["height"] * 3) == (pytest.approx(20), pytest.approx(40))


def test_a_box_that_leaves_the_image_is_trimmed_along_its_own_sides():
    (upright,) = to_regions(TurnedBox(0, 0, 150, 100, 40, 0.0))
    assert (upright["value"]["x"], upright["value"]["width"]) == (pytest.approx(0), pytest.approx(12.5))
    whole = TurnedBox(0, 395, 150, 100, 40, math.radians(20))
    (region,) = to_regions(whole)
    assert region["value"]["rotation"] == pytest.approx(20)
    assert region["value"]["width"] * 4 < 80 and region["value"]["height"] * 3 == pytest.approx(40)


def test_a_box_outside_or_without_area_is_left_out():
    outside, flat = TurnedBox(0, -100, -100, 50, 20, 0.5), TurnedBox(0, 100, 100, 0, 20, 0.5)
    kept = TurnedBox(1, 100, 100, 10, 20, 0.5)
    regions = to_regions(outside, flat, kept)
    assert [region["value"]["rectanglelabels"] for region in regions] == [["plane"]]


def test_an_unknown_class_is_an_error_both_ways():
    with pytest.raises(DataError, match="class index 2"):
        to_regions(TurnedBox(2, 100, 100, 10, 20, 0.5))
    (region,) = to_regions(TurnedBox(1, 100, 100, 10, 20, 0.5))
    with pytest.raises(DataError, match="plane"):
        region_to_turned_box(region, ["ship"])
