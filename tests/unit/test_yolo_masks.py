"""Outlines of masks: one for each part, true to the mask, closed and simple enough to edit; and their regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.yolo.converters.frame import Frame
from backends.yolo.converters.polygon_labels import outlines_to_regions
from backends.yolo.masks import InstanceMask, outlines
from backends.yolo.views import views_of
from labelloop.label_config import parse_label_config

_FINE = 4
CONFIG = parse_label_config(
    '<View><Image name="im" value="$i"/><PolygonLabels name="p" toName="im"><Label value="leaf"/></PolygonLabels></View>'
)


def overlap(points: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union of a polygon and a mask, counted at the centres of quarters of pixels."""
    rows, columns = np.nonzero(mask)
    top, left = rows.min() - 1, columns.min() - 1
    part = np.pad(mask, 1)[top + 1 : rows.max() + 3, left + 1 : columns.max() + 3]
    fine = part.repeat(_FINE, axis=0).repeat(_FINE, axis=1)
    y, x = (np.mgrid[0 : fine.shape[0], 0 : fine.shape[1]] + 0.5) / _FINE + [[[top]], [[left]]]
    inside = np.zeros(fine.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return float((inside & fine).sum() / (inside | fine).sum())


def disc(size: int, x: float, y: float, across: float, down: float) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    return ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1


@settings(max_examples=60, deadline=None)
@given(st.floats(20, 80), st.floats(20, 80), st.floats(4, 40), st.floats(4, 40))
def test_an_outline_is_true_to_its_mask_and_short(x, y, across, down):
    mask = disc(100, x, y, across, down)
    (points,) = outlines(mask)
    assert overlap(points, mask) >= 0.95
    assert 3 <= len(points) <= 60


def test_a_large_mask_has_no_more_points_than_a_small_one():
    small, large = (outlines(disc(size, size / 2, size / 2, size / 3, size / 4))[0] for size in (120, 1200))
    assert len(large) <= 2 * len(small)


def test_a_rectangle_keeps_its_place():
    mask = np.zeros((50, 60), dtype=bool)
    mask[10:30, 20:50] = True
    (points,) = outlines(mask)
    assert points.min(axis=0) == pytest.approx([20, 10], abs=0.01)
    assert points.max(axis=0) == pytest.approx([50, 30], abs=0.01)


def test_each_part_has_an_outline_largest_first_and_crumbs_have_none():
    mask = disc(100, 25, 25, 10, 10) | disc(100, 70, 70, 20, 20)
    mask[2, 90] = True
    parts = outlines(mask)
    assert len(parts) == 2
    assert [part.mean(axis=0).round(-1).tolist() for part in parts] == [[70, 70], [20, 20]] or len(parts[0]) > 3
    assert np.ptp(parts[0][:, 0]) > np.ptp(parts[1][:, 0])


def test_a_hole_is_not_an_outline_of_its_own():
    mask = disc(60, 30, 30, 20, 20) & ~disc(60, 30, 30, 8, 8)
    (points,) = outlines(mask)
    assert overlap(points, disc(60, 30, 30, 20, 20)) > 0.95


def test_an_empty_mask_has_no_outline_and_one_at_the_border_stays_inside():
    assert outlines(np.zeros((10, 10), dtype=bool)) == []
    assert outlines(np.zeros((0, 0), dtype=bool)) == []
    (points,) = outlines(np.ones((20, 30), dtype=bool))
    assert points.min() >= 0 and (points <= [30, 20]).all()


def test_parts_of_an_instance_are_regions_with_its_class_and_score():
    parts = outlines(disc(100, 25, 25, 10, 10) | disc(100, 70, 70, 20, 20))
    regions = outlines_to_regions(parts, "leaf", 0.7, Frame("p", "im", "polygonlabels", 100, 100), number=4)
    assert len(regions) == 2 == len({region["id"] for region in regions})
    for region, part in zip(regions, parts, strict=True):
        assert CONFIG.problem_with(region) is None
        assert region["value"]["closed"] is True and region["score"] == 0.7
        assert np.array(region["value"]["points"]) == pytest.approx(part)


def test_points_are_clipped_to_the_image_and_a_line_is_no_region():
    frame = Frame("p", "im", "polygonlabels", 10, 10)
    beyond = np.array([[-5.0, -5.0], [20.0, -5.0], [20.0, 20.0], [-5.0, 20.0]])
    (region,) = outlines_to_regions([beyond], "leaf", None, frame)
    assert region["value"]["points"] == [[0, 0], [100, 0], [100, 100], [0, 100]]
    outside = np.array([[-5.0, -5.0], [-3.0, -5.0], [-3.0, -3.0]])
    assert outlines_to_regions([outside], "leaf", None, frame) == ()


@pytest.mark.parametrize("size", [(320, 200), (77, 300), (1000, 999)])
def test_a_mask_lies_where_the_prototypes_put_it_and_ends_with_its_box(size):
    view = views_of(*size, 160)[0]
    rows, columns = np.mgrid[0:40, 0:40] + 0.5
    middle = view.to_input(np.array(size) / 2) / 4
    round_one = (9.0 - (columns - middle[0]) ** 2 - (rows - middle[1]) ** 2)[None].astype(np.float32)
    radius = 3 * 4 / view.scale
    whole = InstanceMask(view, round_one, np.ones(1), np.array([0.0, 0.0, *size]), size).full()
    down, across = np.nonzero(whole)
    assert [across.mean() + 0.5, down.mean() + 0.5] == pytest.approx([size[0] / 2, size[1] / 2], abs=1)
    assert [np.ptp(across) + 1, np.ptp(down) + 1] == pytest.approx(2 * radius, rel=0.1)
    half = np.array([0.0, 0.0, size[0] / 2, size[1]])
    cut = InstanceMask(view, round_one, np.ones(1), half, size).full()
    assert np.nonzero(cut)[1].max() < size[0] / 2 and cut.sum() == pytest.approx(whole.sum() / 2, rel=0.1)
    nothing = InstanceMask(view, round_one, np.ones(1), np.array([5.0, 5.0, 5.0, 9.0]), size)
    assert not nothing.full().any() and nothing.outlines() == []
