"""Box matching: IoU of upright and turned boxes, the one-to-one matching, F1 and mean IoU."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.geometry import clip_to_image, polygon_area, rectangle_corners, upright_box
from qa.measures import box_agreement, iou_matrix, match_boxes
from qa.measures.boxes import Floats

SIZE = (200, 100)


def box(x: float, y: float, w: float, h: float, rotation: float = 0.0) -> Floats:
    return rectangle_corners({"x": x, "y": y, "width": w, "height": h, "rotation": rotation}, *SIZE)


def boxes(*found: Floats) -> Floats:
    return np.array(found).reshape(-1, 4, 2)


def test_iou_of_upright_boxes() -> None:
    found = iou_matrix(boxes(box(0, 0, 10, 10)), boxes(box(0, 0, 10, 10), box(5, 0, 10, 10), box(50, 50, 5, 5)))
    assert found[0].tolist() == pytest.approx([1.0, 1 / 3, 0.0])


def test_iou_of_a_turned_box_uses_its_shape_and_not_its_hull() -> None:
    # A 20 x 20 px square and the same turned by 45 degrees about its middle: the octagon is 2(sqrt 2 - 1) of the square.
    square = rectangle_corners({"x": 20, "y": 40, "width": 10, "height": 20}, *SIZE)
    middle = square.mean(axis=0)
    half = np.sqrt(0.5)
    turned = (square - middle) @ np.array([[half, half], [-half, half]]) + middle
    share = 2 * (np.sqrt(2) - 1)
    assert iou_matrix(boxes(square), boxes(turned))[0, 0] == pytest.approx(share / (2 - share))


def test_a_box_turned_by_90_degrees_is_turned_in_pixels() -> None:
    # 40 x 20 px from (100, 50): turned clockwise about the top left corner it spans x 80..100, y 50..90.
    corners = box(50, 50, 20, 20, 90)
    assert corners.min(axis=0).tolist() == pytest.approx([80, 50])
    assert corners.max(axis=0).tolist() == pytest.approx([100, 90])


def test_matching_is_one_to_one_and_takes_the_largest_sum() -> None:
    iou = np.array([[0.9, 0.8], [0.85, 0.0]])
    assert match_boxes(iou) == [(0, 1, 0.8), (1, 0, 0.85)]
    assert match_boxes(np.array([[0.9], [0.8]])) == [(0, 0, 0.9)]


def test_f1_needs_equal_classes_unless_told_otherwise() -> None:
    first, second = boxes(box(0, 0, 10, 10), box(50, 50, 10, 10)), boxes(box(0, 0, 10, 10))
    strict = box_agreement(first, second, ["cat", "dog"], ["dog"])
    loose = box_agreement(first, second, same_class=False)
    assert (strict.f1, strict.mean_iou) == (0.0, None)
    assert loose.f1 == pytest.approx(2 / 3)
    assert loose.mean_iou == pytest.approx(1.0)


def test_both_empty_is_told_apart_from_agreement() -> None:
    nothing = boxes()
    assert box_agreement(nothing, nothing).both_empty
    assert box_agreement(nothing, nothing).f1 is None
    assert box_agreement(boxes(box(0, 0, 9, 9)), nothing, ["a"], []).f1 == 0.0


def test_labels_must_belong_to_the_boxes() -> None:
    with pytest.raises(ValueError, match="one label per box"):
        box_agreement(boxes(box(0, 0, 9, 9)), boxes(), [], [])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3), min_size=1, max_size=3))
def test_no_other_matching_has_a_larger_sum(rows: list[list[float]]) -> None:
    iou = np.array(rows)
    worth = np.where(iou >= 0.5, iou, 0.0)
    best = max(
        sum(worth[i, j] for i, j in enumerate(columns)) for columns in itertools.permutations(range(3), len(rows))
    )
    found = match_boxes(iou)
    assert sum(share for _, _, share in found) == pytest.approx(best)
    assert len({i for i, _, _ in found}) == len({j for _, j, _ in found}) == len(found)


@settings(max_examples=80, deadline=None)
@given(st.floats(0, 80), st.floats(0, 80), st.floats(1, 60), st.floats(1, 60), st.floats(-360, 360))
def test_turning_keeps_the_area_and_clipping_never_adds(x: float, y: float, w: float, h: float, turn: float) -> None:
    corners = box(x, y, w, h, turn)
    area = w * SIZE[0] / 100 * h * SIZE[1] / 100
    assert polygon_area(corners) == pytest.approx(area)
    clipped = clip_to_image(corners, *SIZE)
    assert polygon_area(clipped) <= area + 1e-6
    if len(clipped):
        assert clipped.min() >= -1e-6
        assert (clipped.max(axis=0) <= np.array(SIZE) + 1e-6).all()


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0, 80), st.floats(0, 80), st.floats(1, 60), st.floats(1, 60), st.floats(-360, 360), st.floats(-360, 360)
)
def test_iou_is_symmetric_and_one_with_itself(
    x: float, y: float, w: float, h: float, turn: float, other: float
) -> None:
    first, second = boxes(box(x, y, w, h, turn)), boxes(box(x, y, h, w, other))
    assert iou_matrix(first, first)[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert iou_matrix(first, second)[0, 0] == pytest.approx(iou_matrix(second, first)[0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("value", "box"),
    [
        ({"x": 10, "y": 20, "width": 5, "height": 10, "rotation": 0}, (20, 20, 30, 30)),
        ({"x": -5, "y": 95, "width": 10, "height": 10}, (0, 95, 10, 100)),
        ({"x": 10, "y": 20, "width": -5, "height": 10}, None),
        ({"x": 10, "y": 20, "width": 5, "height": 10, "rotation": 1}, None),
        ({"x": "10", "y": 20, "width": 5, "height": 10}, None),
        ({"x": float("nan"), "y": 20, "width": 5, "height": 10}, None),
        ({"x": 0, "y": 0, "width": float("inf"), "height": 10}, None),
        ({"y": 0, "width": 1, "height": 10}, None),
    ],
)
def test_an_upright_box_is_clipped_and_anything_else_is_left_to_its_points(
    value: dict[str, object], box: tuple[float, ...] | None
) -> None:
    assert upright_box(value, 200, 100) == (None if box is None else pytest.approx(box))
