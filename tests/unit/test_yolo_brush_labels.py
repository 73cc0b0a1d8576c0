"""The run-length code of BrushLabels: exact both ways, and the same as Label Studio's own converter writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from backends.yolo.converters.brush_labels import decode_mask, encode_mask, mask_to_region
from backends.yolo.converters.frame import Frame
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
FRAME = Frame("brush", "im", "brushlabels", 60, 40)


@settings(deadline=None)
@given(masks)
def test_a_mask_survives_the_way_there_and_back(mask):
    assert (decode_mask(encode_mask(mask), mask.shape[1], mask.shape[0]) == mask).all()


@settings(deadline=None)
@given(masks)
def test_the_code_is_that_of_label_studios_converter(mask):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    assert encode_mask(mask) == brush.mask2rle((mask * 255).astype(np.uint8))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_runs_of_more_than_65536_values_are_split(share):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    mask = np.full((300, 400), share > 0)
    mask[150, 200] = True
    code = encode_mask(mask)
    assert code == brush.mask2rle((mask * 255).astype(np.uint8))
    assert (decode_mask(code, 400, 300) == mask).all()
    assert len(code) < 200


def bits(*parts: tuple[int, int]) -> list[int]:
    """Bytes of numbers written one after the other, each with its count of bits."""
    text = "".join(f"{number:0{count}b}" for number, count in parts)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def test_lists_of_values_and_other_run_sizes_are_read_as_the_editor_writes_them():
    head = [(8, 32), (7, 5), (0, 4), (1, 4), (7, 4), (15, 4)]
    literal = [(0, 1), (1, 2), (3, 2), (9, 8), (8, 8), (7, 8), (200, 8)]  # four values, the last an alpha
    run = [(1, 1), (2, 2), (3, 8), (0, 8)]  # four times 0
    assert decode_mask(bits(*head, *literal, *run), 2, 1).tolist() == [[True, False]]


@pytest.mark.parametrize("rle", [[], [0, 0, 0, 4], [0, 0, 0, 16, 57, 27], [255] * 7, [1, 2, 300]])
def test_a_code_that_does_not_fit_is_an_error_and_takes_no_memory(rle):
    with pytest.raises(DataError, match="run-length"):
        decode_mask(rle, 2, 2)


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 7))
def test_a_mask_of_another_size_is_an_error(width, height):
    code = encode_mask(np.ones((5, 8), dtype=bool))
    if width * height != 40:
        with pytest.raises(DataError):
            decode_mask(code, width, height)


def test_a_region_holds_what_label_studio_needs_and_an_empty_mask_gives_none():
    mask = np.zeros((40, 60), dtype=bool)
    assert mask_to_region(mask, "leaf", 0.5, FRAME) is None
    mask[10:20, 10:30] = True
    region = mask_to_region(mask, "leaf", 0.5, FRAME)
    config = parse_label_config(
        '<View><Image name="im" value="$i"/><BrushLabels name="brush" toName="im"><Label value="leaf"/></BrushLabels></View>'
    )
    assert config.problem_with(region) is None
    assert (region["value"]["format"], region["original_width"], region["original_height"]) == ("rle", 60, 40)
