"""Regions through COCO files and back: what the format holds comes back as it was, numbers to the last bits of a float."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelloop.geometry import bounds, points_area, rectangle_points
from labelloop.label_config import parse_label_config
from labelloop.masks import mask_of_brush
from sync.formats.reading import read_labelled

sys.path.insert(0, str(Path(__file__).parent))
from image_exports import HEIGHT, POSES, SHAPES, WIDTH, box, brush, config_of, exported, point, polygon, ringed

percent = st.floats(0, 100, allow_subnormal=False)
classes = st.sampled_from(["ant", "zebra", ["ant", "zebra"]])


@st.composite
def boxes(draw: Any) -> dict[str, Any]:
    x, y = draw(st.floats(0, 89)), draw(st.floats(0, 89))
    return box(x, y, draw(st.floats(0.01, 100 - x)), draw(st.floats(0.01, 100 - y)), draw(classes))


@st.composite
def turned_boxes(draw: Any) -> dict[str, Any]:
    w, h, rotation = draw(st.floats(1, 20)), draw(st.floats(1, 40)), draw(st.floats(0.5, 359.5))
    found = box(draw(st.floats(0, 99)), draw(st.floats(0, 99)), w, h, draw(classes), rotation)
    corners = rectangle_points(found["value"], WIDTH, HEIGHT)
    assume(all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in corners))
    return found


@st.composite
def polygons(draw: Any) -> dict[str, Any]:
    corners = draw(st.lists(st.tuples(percent, percent), min_size=3, max_size=9, unique=True))
    assume(points_area(corners) > 0.01)  # corners in a line are no polygon
    return polygon(corners, draw(classes))


@st.composite
def brushes(draw: Any) -> dict[str, Any]:
    coarse = draw(arrays(bool, (10, 20)).filter(np.any))
    return brush(np.kron(coarse, np.ones((10, 10), dtype=bool)), draw(classes))


def there_and_back(result: list[dict[str, Any]], config: str, **more: Any) -> list[dict[str, Any]]:
    """The regions as they are read from the files, under the controls of their config."""
    with tempfile.TemporaryDirectory() as folder:
        out, report = exported(Path(folder), "coco", [result], config, **more)
        labelled = read_labelled(out, "coco", config=parse_label_config(config))
        (item,) = list(labelled)
    assert (labelled.rejected, report.n_skipped) == ([], 0)
    assert (item.split, item.size, item.data["image"], item.annotator) == (
        "train",
        (WIDTH, HEIGHT),
        "upload/1/i1.png",
        "1",
    )
    assert [labelled.config.problem_with(found) for found in item.result] == [None] * len(item.result)
    return item.result


def numbered(result: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**found, "id": f"region {number}"} for number, found in enumerate(result)]


def assert_same(before: dict[str, Any], after: dict[str, Any], within: float = 1e-9) -> None:
    """One region: ids, classes, and numbers but for what two multiplications round."""
    assert {key: before[key] for key in ("id", "from_name", "type")} == {
        key: after[key] for key in ("id", "from_name", "type")
    }
    old, new = dict(before["value"]), dict(after["value"])
    assert np.allclose(old.pop("points", []), new.pop("points", []), rtol=0, atol=within)
    for key in [key for key in old if isinstance(old[key], float)]:
        assert new.pop(key) == pytest.approx(old.pop(key), rel=0, abs=within)
    new.pop("closed", None)
    assert old == new


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(boxes(), turned_boxes(), polygons(), brushes()), max_size=6))
def test_boxes_polygons_and_brushes_come_back(result: list[dict[str, Any]]) -> None:
    sent = numbered(result)
    for before, after in zip(sent, there_and_back(sent, SHAPES), strict=True):
        assert_same(before, after)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(polygons(), brushes()), min_size=1, max_size=4))
def test_detection_keeps_the_bounds_of_other_shapes(result: list[dict[str, Any]]) -> None:
    sent = numbered(result)
    config = config_of("RectangleLabels", "PolygonLabels", "BrushLabels")
    for before, after in zip(sent, there_and_back(sent, config, task="detect"), strict=True):
        if "points" in before["value"]:
            x0, y0, x1, y1 = bounds(before["value"]["points"])
        else:
            x, y, w, h = mask_of_brush(before["value"]["rle"], WIDTH, HEIGHT).box
            x0, y0, x1, y1 = x / 2, y, (x + w) / 2, y + h
        found = after["value"]
        assert after["type"] == "rectanglelabels"
        assert (found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]) == pytest.approx(
            (x0, y0, x1, y1), rel=0, abs=1e-9
        )


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["person", "dog"]),
            st.lists(st.tuples(percent, percent, st.booleans()), max_size=3),
        ),
        max_size=4,
    )
)
def test_key_points_come_back_with_their_objects_and_flags(people: Any) -> None:
    sent, marks = [], []
    for number, (label, points) in enumerate(people):
        sent.append(box(10 * number, 5, 30, 50, label, id=f"box {number}"))
        for (x, y, hidden), name in zip(points, ("nose", "left eye", "tail"), strict=False):
            sent.append(point(x, y, name, f"{name} {number}", parentID=f"box {number}"))
            if hidden:
                choice = {"choices": ["Occluded"]}
                marks.append(
                    {
                        "id": f"{name} {number}",
                        "from_name": "seen",
                        "to_name": "image",
                        "type": "choices",
                        "value": choice,
                    }
                )
    back = there_and_back([*sent, *marks], POSES)
    drawn = [region for region in back if region["type"] != "choices"]
    for before, after in zip(sent, drawn, strict=True):
        assert_same(before, after)
        assert before.get("parentID") == after.get("parentID")
    assert {region["id"] for region in back if region["type"] == "choices"} == {mark["id"] for mark in marks}


def test_a_crowd_comes_back_and_a_turned_box_that_is_cut_is_its_outline() -> None:
    config = config_of(
        "RectangleLabels", "PolygonLabels", "BrushLabels",
        more='<Choices name="kind" toName="image" perRegion="true"><Choice value="crowd"/></Choices>',
    )  # fmt: skip
    mark = {"id": "b", "from_name": "kind", "to_name": "image", "type": "choices", "value": {"choices": ["crowd"]}}
    back = there_and_back([brush(ringed()), mark, box(95, 50, 20, 30, rotation=20)], config, task="segment")
    assert [region["type"] for region in back] == ["brushlabels", "choices", "polygonlabels"]
    assert back[1]["id"] == back[0]["id"] == "b"


def test_a_config_made_of_the_files_holds_all_that_they_have() -> None:
    result = numbered([box(1, 1, 9, 9), polygon([[1, 1], [50, 1], [20, 80]], "zebra"), brush(ringed())])
    with tempfile.TemporaryDirectory() as folder:
        out, _ = exported(Path(folder), "coco", [result, [], result[:1]], SHAPES)
        labelled = read_labelled(out, "coco")
        items = list(labelled)
    assert [[region["id"] for region in item.result] for item in items] == [
        [region["id"] for region in result], [], [result[0]["id"]],
    ]  # fmt: skip
    assert [(control.tag, control.classes) for control in labelled.config.controls] == [
        (tag, ("zebra", "ant")) for tag in ("RectangleLabels", "PolygonLabels", "BrushLabels")
    ]
    assert labelled.count == 3
