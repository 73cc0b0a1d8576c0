"""Where a network's input lies in an image, tiles of a large one, and detections of several tiles merged."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backends.yolo.images import letterbox
from backends.yolo.suppression import gaussian_overlap, merge_views
from backends.yolo.views import View, centre_square, views_of

lengths = st.integers(20, 3000)


@settings(deadline=None)
@given(lengths, lengths, st.integers(2, 20))
def test_a_view_is_where_the_letterbox_puts_the_image(width, height, count):
    side = 32 * count
    view = View(0, 0, width, height, side)
    pixels = letterbox(Image.new("RGB", (width, height), "red"), side)[0]
    rows, columns = np.nonzero(pixels[..., 0] == 255)
    corners = view.to_input(np.array([[0, 0], [width, height]]))
    assert corners[0].tolist() == [columns.min(), rows.min()]
    assert corners[1] == pytest.approx([columns.max() + 1, rows.max() + 1])


@given(lengths, lengths, st.floats(-50, 700), st.floats(-50, 700), st.integers(0, 500))
def test_points_survive_the_way_there_and_back(width, height, x, y, shift):
    view = View(shift, 2 * shift, width, height, 640)
    assert view.to_image(view.to_input(np.array([x, y]))) == pytest.approx([x, y], abs=1e-6)


@given(st.integers(100, 4000), st.integers(100, 4000), st.integers(64, 900), st.floats(0, 0.6))
def test_tiles_cover_the_image_and_overlap(width, height, tile, overlap):
    whole, *tiles = views_of(width, height, 64, tile, overlap)
    assert (whole.width, whole.height) == (width, height)
    assert bool(tiles) == (max(width, height) > tile)
    for begin, extent, length in (("left", "width", width), ("top", "height", height)):
        spans = sorted({(getattr(t, begin), getattr(t, begin) + getattr(t, extent)) for t in tiles})
        if tiles:
            assert spans[0][0] == 0 and spans[-1][1] == length
            assert all(end - start <= tile for start, end in spans)
            for (_, end), (start, _) in itertools.pairwise(spans):
                assert end - start >= overlap * tile - 2


def test_without_tiling_there_is_one_view():
    assert len(views_of(5000, 4000, 640)) == 1 == len(views_of(600, 400, 640, 1000, 0.2))


def test_only_boxes_at_an_inner_edge_are_cut():
    view = View(100, 0, 200, 200, 200)
    boxes = np.array(
        [[100, 50, 150, 90], [250, 50, 300, 90], [150, 0, 180, 20], [150, 150, 180, 200], [120, 20, 280, 180]]
    )
    assert view.cuts(boxes, 500, 200).tolist() == [True, True, False, False, False]


def test_a_classifier_sees_the_middle():
    image = Image.new("RGB", (300, 100), "black")
    image.paste("white", (100, 0, 200, 100))
    assert centre_square(image, 64).shape == (64, 64, 3)
    assert centre_square(image, 64).min() > 200
    assert centre_square(image.resize((90, 40)), 64).shape == (64, 64, 3)


def merged(
    *rows: tuple[list[float], float, int, bool], labels: list[int] | None = None, join: bool = True
) -> list[list[float]]:
    boxes, scores, views, cut = zip(*rows, strict=True)
    kinds = np.array(labels or [0] * len(rows))
    kept, after = merge_views(
        np.array(boxes, dtype=float), np.array(scores), kinds, np.array(views), np.array(cut), join=join
    )
    assert (np.diff(np.array(scores)[kept]) <= 0).all()
    return after[kept].tolist()


def test_one_object_seen_by_two_tiles_is_one_detection():
    one, other = [100.0, 100.0, 140.0, 140.0], [102.0, 101.0, 141.0, 140.0]
    assert merged((one, 0.9, 1, False), (other, 0.8, 2, False)) == [one]
    assert len(merged((one, 0.9, 1, False), (other, 0.8, 1, False))) == 2  # one view has had its own suppression
    assert len(merged((one, 0.9, 1, False), (other, 0.8, 2, False), labels=[0, 1])) == 2


def test_a_piece_that_a_tile_cut_off_goes_for_the_whole_though_it_is_surer():
    whole, piece = [100.0, 100.0, 200.0, 200.0], [150.0, 100.0, 200.0, 200.0]
    assert merged((piece, 0.95, 1, True), (whole, 0.6, 0, False)) == [whole]


def test_a_small_object_inside_a_large_one_stays():
    large, small = [0.0, 0.0, 400.0, 400.0], [100.0, 100.0, 140.0, 140.0]
    assert len(merged((large, 0.9, 0, False), (small, 0.8, 1, False))) == 2


def test_two_pieces_of_an_object_that_no_view_holds_are_joined():
    left, right = [100.0, 100.0, 300.0, 200.0], [260.0, 102.0, 450.0, 198.0]
    assert merged((left, 0.9, 1, True), (right, 0.8, 2, True)) == [[100, 100, 450, 200]]
    assert len(merged((left, 0.9, 1, True), (right, 0.8, 2, True), join=False)) == 2


def test_the_overlap_of_turned_boxes_is_symmetric_and_one_for_equal_ones():
    boxes = np.array(
        [[50, 50, 40, 10, 0.3], [50, 50, 40, 10, 0.3 + np.pi], [52, 50, 40, 10, 0.4], [500, 50, 40, 10, 0.3]]
    )
    overlap = gaussian_overlap(boxes)
    assert overlap == pytest.approx(overlap.T)
    assert overlap[0, 1] > 0.99 > overlap[0, 2] > 0.3 and overlap[0, 3] < 0.01
