"""Agreement on brush masks: pixels in common counted from run lengths beside arrays of pixels, one mask per class and image."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelloop.label_config import parse_label_config
from labelloop.masks import brush_of_pixels, mask_of_pixels
from qa.issues.placed import placed_in
from qa.kinds.kind import Compared, Readings
from qa.kinds.masks import MASKS
from qa.kinds.registry import kind_of, measurable, unmeasured
from qa.measures.mask_overlap import common_pixels, dice_and_iou

WIDTH, HEIGHT = 8, 6


def control_of(tag: str) -> Any:
    labels = '<Label value="sky"/><Label value="road"/>' if tag.endswith("Labels") else ""
    config = parse_label_config(
        f'<View><Image name="image" value="$image"/><{tag} name="c" toName="image">{labels}</{tag}></View>'
    )
    return (*config.controls, *config.answers)[0]


def pixels(rows: slice, columns: slice) -> Any:
    found = np.zeros((HEIGHT, WIDTH), dtype=bool)
    found[rows, columns] = True
    return found


TOP = pixels(slice(0, 3), slice(0, 8))  # 24 pixels
LEFT = pixels(slice(0, 6), slice(0, 4))  # 24 pixels, 12 in common
UPPER = pixels(slice(0, 2), slice(0, 8))  # 16 of TOP


def stroke(inside: Any, *labels: str, **more: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": brush_of_pixels(inside), "brushlabels": list(labels)}
    return {
        "id": "r", "from_name": "c", "to_name": "image", "type": "brushlabels",
        "original_width": WIDTH, "original_height": HEIGHT, "value": value, **more,
    }  # fmt: skip


def compared(*results: list[dict[str, Any]]) -> Compared:
    values = [MASKS.read(result, control_of("BrushLabels"), {}) for result in results]
    return MASKS.compare(Readings(np.zeros(len(values), np.int64), np.arange(len(values)), values))


@pytest.mark.parametrize("tag", ["BrushLabels", "Brush"])
def test_every_tag_of_brushes_is_of_this_kind(tag: str) -> None:
    assert kind_of(control_of(tag)) is MASKS


def test_dice_and_iou_by_class() -> None:
    # sky: 12 of 24 and 24 in common; road: 16 of 24 and 16.
    found = compared([stroke(TOP, "sky"), stroke(TOP, "road")], [stroke(LEFT, "sky"), stroke(UPPER, "road")])
    assert found.pairs.to_dicts() == [
        {
            "left": 0, "right": 1, "score": pytest.approx(0.65), "dice": pytest.approx(1.3),
            "iou": pytest.approx(1.0), "masks": 2.0, "n_both": 4.0, "matched": 1.0,
            "matched_50_95": pytest.approx(0.4),
        }
    ]  # fmt: skip
    assert found.by_class.sort("class").select("class", "dice", "iou", "masks").rows() == [
        ("road", pytest.approx(0.8), pytest.approx(2 / 3), 1.0),
        ("sky", pytest.approx(0.5), pytest.approx(1 / 3), 1.0),
    ]
    assert found.judged.height == 0
    assert MASKS.headline in MASKS.ratios


def test_strokes_of_one_class_are_one_mask() -> None:
    found = compared([stroke(UPPER, "sky"), stroke(TOP & ~UPPER, "sky"), stroke(UPPER, "sky")], [stroke(TOP, "sky")])
    assert found.pairs.select("dice", "masks", "n_both", "matched").rows() == [(1.0, 1.0, 2.0, 1.0)]


def test_a_class_that_one_person_marked_counts_as_nothing_in_common() -> None:
    found = compared([stroke(TOP, "sky")], [stroke(TOP, "sky"), stroke(LEFT, "road")], [])
    assert found.pairs.select("left", "right", "score", "masks", "n_both", "matched").rows() == [
        (0, 1, 0.5, 2.0, 3.0, 1.0), (0, 2, 0.0, 1.0, 1.0, 0.0), (1, 2, 0.0, 2.0, 2.0, 0.0),
    ]  # fmt: skip
    road = found.by_class.filter(pl.col("class") == "road")
    assert road.select("left", "right", "iou", "masks").rows() == [(0, 1, 0.0, 1.0), (1, 2, 0.0, 1.0)]


def test_two_of_nothing_are_no_agreement() -> None:
    nothing = compared([], [stroke(np.zeros((HEIGHT, WIDTH), dtype=bool), "sky")])
    assert nothing.pairs.height == nothing.by_class.height == 0
    assert nothing.pairs.schema == compared([stroke(TOP, "sky")], []).pairs.schema


def test_masks_of_other_images_of_a_task_are_apart() -> None:
    found = compared([stroke(TOP, "sky", item_index=0)], [stroke(TOP, "sky", item_index=1)])
    assert found.pairs.select("dice", "masks", "n_both").rows() == [(0.0, 2.0, 2.0)]


@pytest.mark.parametrize("rle", [None, [], [1, 2, 3], "text", [0] * 40, [999]])
def test_broken_strokes_are_left_out(rle: Any) -> None:
    broken = stroke(TOP, "sky")
    broken["value"]["rle"] = rle
    value = MASKS.read([broken, {**broken, "value": None}, stroke(LEFT, "road")], control_of("BrushLabels"), {})
    assert value is not None
    assert (value.labels, value.items, value.masks[0].area) == (("road",), (0,), 24)
    assert MASKS.read([broken], control_of("BrushLabels"), {}) is None


def test_a_brush_without_classes_has_one_mask() -> None:
    control = control_of("Brush")
    region = {**stroke(TOP), "type": control.region_type}
    values = [MASKS.read([region], control, {})] * 2
    found = MASKS.compare(Readings(np.zeros(2, np.int64), np.arange(2), values))
    assert found.pairs["score"].to_list() == [1.0]
    assert found.by_class.height == 0


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_pixels_in_common_are_those_of_the_arrays(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    one, other = (data.draw(arrays(np.bool_, shape)) for _ in range(2))
    masks = mask_of_pixels(one), mask_of_pixels(other)
    assert common_pixels(*masks) == common_pixels(*masks[::-1]) == (one & other).sum()
    if one.any() or other.any():
        dice, iou = dice_and_iou(*masks)
        assert dice == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
        assert iou == pytest.approx((one & other).sum() / (one | other).sum())


def test_a_mask_of_another_size_is_brought_to_that_of_the_first() -> None:
    large = np.kron(TOP, np.ones((2, 2), dtype=bool))
    assert dice_and_iou(mask_of_pixels(TOP), mask_of_pixels(large)) == (1.0, 1.0)


def test_strokes_of_a_brush_have_the_classes_of_the_labels_beside_it() -> None:
    config = parse_label_config(
        '<View><Image name="image" value="$image"/><Brush name="brush" toName="image"/>'
        '<Labels name="class" toName="image"><Label value="cat"/><Label value="dog"/></Labels></View>'
    )
    (brush,) = config.answers
    pixels = np.zeros((10, 20), dtype=bool)
    pixels[2:5, 3:9] = True
    value = {"format": "rle", "rle": brush_of_pixels(pixels)}
    size = {"original_width": 20, "original_height": 10, "to_name": "image"}

    def stroke(name: str, label: str) -> list[dict[str, Any]]:
        drawn = {"id": name, "from_name": "brush", "type": "brush", "value": value, **size}
        return [drawn, drawn | {"from_name": "class", "type": "labels", "value": {**value, "labels": [label]}}]

    read = MASKS.read([*stroke("a", "cat"), *stroke("b", "dog")], brush, {})
    assert read is not None and (read.labels, read.strokes) == (("cat", "dog"), (("a",), ("b",)))
    assert [control.name for control, _ in measurable(config)] == ["brush"]
    (named,) = unmeasured(config)
    assert named["control"] == "class" and "with the shapes" in named["reason"]
    placed = placed_in([*stroke("a", "cat"), *stroke("b", "dog")], brush, MASKS, {})
    assert placed.labels == ("cat", "dog")
