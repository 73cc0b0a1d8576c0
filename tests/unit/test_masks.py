"""Masks: Label Studio's code as its own converter writes it, COCO's as pycocotools does, polygons with holes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as oracle

from labelloop.errors import DataError
from labelloop.masks import (
    MAX_PIXELS,
    Pixels,
    brush_of_pixels,
    joined,
    mask_of_brush,
    mask_of_compressed,
    mask_of_counts,
    mask_of_pixels,
    mask_of_polygons,
    pixels_of_brush,
    resized,
)

#: pycocotools' own, of every decode.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

images = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def told_by_pycocotools(pixels: Pixels) -> Any:
    return oracle.encode(np.asfortranarray(pixels.astype(np.uint8)))


# -- COCO's codes -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(images)
def test_the_code_the_area_and_the_box_are_those_of_pycocotools(pixels):
    mask, expected = mask_of_pixels(pixels), told_by_pycocotools(pixels)
    assert mask.compressed() == expected["counts"].decode()
    assert mask.area == oracle.area(expected)
    assert list(mask.box) == oracle.toBbox(expected).tolist()


@settings(deadline=None)
@given(images)
def test_masks_survive_both_codes_and_are_read_by_pycocotools(pixels):
    height, width = pixels.shape
    mask = mask_of_pixels(pixels)
    assert (mask.pixels() == pixels).all()
    assert (mask_of_compressed(mask.compressed(), width, height).counts == mask.counts).all()
    assert (mask_of_counts(mask.counts.tolist(), width, height).pixels() == pixels).all()
    uncompressed = oracle.frPyObjects({"size": [height, width], "counts": mask.counts.tolist()}, height, width)
    assert (oracle.decode(uncompressed) == pixels).all()


def test_long_runs_take_more_than_one_character():
    pixels = np.zeros((3000, 2000), dtype=bool)
    pixels[2990:, 1990:] = True
    mask = mask_of_pixels(pixels)
    assert mask.compressed() == told_by_pycocotools(pixels)["counts"].decode()
    assert (mask_of_compressed(mask.compressed().encode(), 2000, 3000).counts == mask.counts).all()


@pytest.mark.parametrize("code", ["", "P", "\x7f", "é", "0", "oooooooo0", "1" * 50])
def test_a_text_that_is_no_code_of_the_size_is_an_error(code):
    with pytest.raises(DataError, match="mask"):
        mask_of_compressed(code, 4, 4)


@pytest.mark.parametrize("counts", [[15], [17], [-1, 17], [2**62, -(2**62), 16], ["x"], [2**70], None, [[1, 2], 3]])
def test_counts_of_another_size_are_an_error(counts):
    with pytest.raises(DataError, match="mask"):
        mask_of_counts(counts, 4, 4)


@settings(deadline=None)
@given(st.data())
def test_joined_masks_hold_every_pixel_of_each(data):
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
    several = data.draw(st.lists(arrays(bool, shape), min_size=1, max_size=4))
    found = joined([mask_of_pixels(pixels) for pixels in several])
    assert found.compressed() == mask_of_pixels(np.logical_or.reduce(several)).compressed()


def test_a_mask_on_an_image_of_another_size_keeps_its_place():
    pixels = np.zeros((40, 60), dtype=bool)
    pixels[10:20, 30:45] = True
    half = resized(mask_of_pixels(pixels), 30, 20)
    assert (half.box, half.area) == ((15, 5, 7, 5), 35)
    assert resized(mask_of_pixels(pixels), 120, 80).box == (60, 20, 30, 20)


# -- Label Studio's code ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(images)
def test_a_brush_survives_the_way_there_and_back(pixels):
    height, width = pixels.shape
    code = brush_of_pixels(pixels)
    assert (pixels_of_brush(code, width, height) == pixels).all()
    assert mask_of_brush(code, width, height).compressed() == mask_of_pixels(pixels).compressed()


@settings(deadline=None)
@given(images)
def test_the_code_is_that_of_label_studios_converter(pixels):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    assert brush_of_pixels(pixels) == brush.mask2rle((pixels * 255).astype(np.uint8))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_runs_of_more_than_65536_values_are_split(share):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    pixels = np.full((300, 400), share > 0)
    pixels[150, 200] = True
    code = brush_of_pixels(pixels)
    assert code == brush.mask2rle((pixels * 255).astype(np.uint8))
    assert (pixels_of_brush(code, 400, 300) == pixels).all()
    assert len(code) < 200


def test_a_noisy_brush_is_read_over_the_borders_of_windows():
    pixels = np.random.default_rng(5).random((500, 400)) < 0.5
    code = brush_of_pixels(pixels)
    assert len(code) > 2 * (1 << 16)
    assert (pixels_of_brush(code, 400, 500) == pixels).all()
    assert (mask_of_brush(code, 400, 500).pixels() == pixels).all()


def bits(*parts: tuple[int, int]) -> list[int]:
    """Bytes of numbers written one after the other, each with its count of bits."""
    text = "".join(f"{number:0{count}b}" for number, count in parts)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def test_lists_of_values_and_other_run_sizes_are_read_as_the_editor_writes_them():
    head = [(8, 32), (7, 5), (0, 4), (1, 4), (7, 4), (15, 4)]
    literal = [(0, 1), (1, 2), (3, 2), (9, 8), (8, 8), (7, 8), (200, 8)]  # four values, the last an alpha
    run = [(1, 1), (2, 2), (3, 8), (0, 8)]  # four times 0
    assert pixels_of_brush(bits(*head, *literal, *run), 2, 1).tolist() == [[True, False]]


@settings(deadline=None)
@given(arrays(np.uint8, (3, 5, 4)), st.lists(st.integers(1, 16), min_size=60, max_size=60), st.randoms())
def test_any_cut_into_runs_and_lists_is_read(values, lengths, random):
    flat, parts, at = values.ravel().tolist(), [(60, 32), (7, 5), (1, 4), (3, 4), (7, 4), (15, 4)], 0
    for length in lengths:
        piece = flat[at : at + length]
        if not piece:
            break
        which, size = random.choice([(1, 4), (2, 8), (3, 16)])
        same = len(set(piece)) == 1
        parts += [(int(same), 1), (which, 2), (len(piece) - 1, size)]
        parts += [(value, 8) for value in (piece[:1] if same else piece)]
        at += length
    expected = values[:, :, 3] > 0
    assert (pixels_of_brush(bits(*parts), 5, 3) == expected).all()
    assert mask_of_brush(bits(*parts), 5, 3).compressed() == mask_of_pixels(expected).compressed()


@pytest.mark.parametrize(
    "code", [[], [0, 0, 0, 4], [0, 0, 0, 16, 57, 27], [255] * 7, [1, 2, 300], None, ["a"], [0.5], 10**12]
)
def test_a_code_that_does_not_fit_is_an_error(code):
    with pytest.raises(DataError, match="run-length"):
        pixels_of_brush(code, 2, 2)
    with pytest.raises(DataError, match="run-length"):
        mask_of_brush(code, 2, 2)


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), max_size=80), st.integers(1, 4), st.integers(1, 4))
def test_any_bytes_are_a_mask_or_an_error(tail, width, height):
    code = [0, 0, 0, width * height * 4, 57, 27, 252, *tail]
    try:
        assert pixels_of_brush(code, width, height).shape == (height, width)
    except DataError as error:
        assert "run-length" in str(error)


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 7))
def test_a_brush_of_another_size_is_an_error(width, height):
    code = brush_of_pixels(np.ones((5, 8), dtype=bool))
    if width * height != 40:
        with pytest.raises(DataError):
            pixels_of_brush(code, width, height)


def test_a_few_bytes_that_claim_a_huge_image_take_no_memory():
    width = height = 30_000
    code = bits((width * height * 4 % 2**32, 32), (7, 5), (2, 4), (3, 4), (7, 4), (15, 4), *[(0xFFFF, 16)] * 40)
    tracemalloc.start()
    try:
        for given_width in (width, 10_000):
            with pytest.raises(DataError):
                mask_of_brush(code, given_width, given_width)
        for claimed in ([MAX_PIXELS * 4], [2**40]):
            with pytest.raises(DataError):
                mask_of_counts(claimed, 2**20, 2**20)
        with pytest.raises(DataError):
            mask_of_polygons([[(0, 0), (1e9, 0), (1e9, 1e9)]], 10**9, 10**9)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# -- polygons ---------------------------------------------------------------------------------------------------------


def test_a_ring_in_a_ring_is_a_hole():
    outer, inner = [(10, 10), (40, 10), (40, 40), (10, 40)], [(20, 20), (30, 20), (30, 30), (20, 30)]
    mask = mask_of_polygons([outer, inner], 60, 50)
    assert (mask.area, mask.box) == (800, (10, 10, 30, 30))
    assert not mask.pixels()[20:30, 20:30].any()
    assert oracle.area({"size": [50, 60], "counts": mask.compressed().encode()}) == 800


@pytest.mark.parametrize(
    "ring", [[], [(1, 1)], [(1, 1), (5, 5)], [(5, 0), (5, 9), (5, 3)], [(-9, -9), (-3, -9), (-5, -2)]]
)
def test_a_ring_around_nothing_covers_nothing(ring):
    assert mask_of_polygons([ring], 10, 10).area == 0


def test_a_bridge_walked_both_ways_adds_nothing() -> None:
    """Even where it crosses the middle of a pixel, and its ends are rounded as label files round them."""
    bridged = [(0, 0), (1, 0), (1, 1), (2, 44), (3, 44), (3, 45), (2, 45), (2, 44), (1, 1), (0, 1)]
    rounded = [(round(x / 640, 8) * 640, round(y / 360, 8) * 360) for x, y in bridged]
    pixels = mask_of_polygons([rounded], 640, 360).pixels()
    assert np.argwhere(pixels).tolist() == [[0, 0], [44, 2]]


def test_a_polygon_that_leaves_the_image_is_cut_there():
    assert mask_of_polygons([[(-50, -50), (500, -50), (500, 5), (-50, 5)]], 20, 10).area == 100


def test_a_number_that_is_none_is_an_error():
    with pytest.raises(DataError, match="finite"):
        mask_of_polygons([[(0, 0), (float("nan"), 1), (2, 2)]], 10, 10)


def distance_to_outline(point: Any, ring: Any) -> float:
    start, side = ring, np.roll(ring, -1, axis=0) - ring
    share = np.clip(((point - start) * side).sum(axis=1) / (side**2).sum(axis=1), 0, 1)
    return float(np.linalg.norm(start + share[:, None] * side - point, axis=1).min())


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_polygons_cover_what_pycocotools_says_but_for_pixels_on_the_outline(seed, corners):
    random = np.random.default_rng(seed)
    width, height = 64, 48
    ring = random.random((corners, 2)) * [width, height]
    middle = ring.mean(axis=0)
    ring = ring[np.argsort(np.arctan2(*(ring - middle).T))]
    own = mask_of_polygons([ring], width, height).pixels()
    other = oracle.decode(oracle.frPyObjects([ring.ravel().tolist()], height, width))[:, :, 0]
    differing = np.argwhere(own != other)[:, ::-1] + 0.5
    # pycocotools rounds corners to a fifth of a pixel.
    assert all(distance_to_outline(point, ring) < 0.5 for point in differing)


def test_many_sides_over_many_columns_are_taken_piece_by_piece(monkeypatch):
    ring = np.random.default_rng(3).random((300, 2)) * [90, 70]
    whole = mask_of_polygons([ring], 90, 70)
    monkeypatch.setattr("labelloop.masks._CROSSINGS", 7)
    assert whole.area > 1000
    assert mask_of_polygons([ring], 90, 70).compressed() == whole.compressed()
