"""Boxes to RectangleLabels regions and back, the label files of YOLO, and the uncertainty of an image."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.yolo.converters.frame import Frame
from backends.yolo.converters.rectangle_labels import Box, boxes_to_regions, regions_to_boxes
from backends.yolo.dataset import in_validation_part
from backends.yolo.uncertainty import detection_doubt, image_uncertainty
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config

CLASSES = ("circle", "square", "star")
CONFIG = (
    '<View><Image name="photo" value="$image"/><RectangleLabels name="box" toName="photo">'
    + "".join(f'<Label value="{name}"/>' for name in CLASSES)
    + "</RectangleLabels></View>"
)
corner = st.floats(0.0, 0.9)
extent = st.floats(0.01, 0.1)


def to_regions(*boxes: Box, width: int = 200, height: int = 100) -> tuple[dict, ...]:
    return boxes_to_regions(boxes, CLASSES, Frame("box", "photo", "rectanglelabels", width, height))


def test_a_region_has_every_key_that_label_studio_expects():
    (region,) = to_regions(Box(2, 0.1, 0.2, 0.4, 0.8, 0.75))
    assert {k: v for k, v in region.items() if k not in ("id", "value")} == {
        "from_name": "box", "to_name": "photo", "type": "rectanglelabels", "original_width": 200,
        "original_height": 100, "image_rotation": 0, "score": 0.75,
    }  # fmt: skip
    assert region["value"] == {
        "x": pytest.approx(10), "y": pytest.approx(20), "width": pytest.approx(30), "height": pytest.approx(60),
        "rotation": 0, "rectanglelabels": ["star"],
    }  # fmt: skip
    assert parse_label_config(CONFIG).problem_with(region) is None


@given(st.lists(st.tuples(st.integers(0, 2), corner, corner, extent, extent, st.floats(0, 1)), max_size=6))
def test_boxes_survive_the_way_there_and_back(drawn):
    boxes = [Box(label, x, y, x + w, y + h, score) for label, x, y, w, h, score in drawn]
    back = regions_to_boxes(to_regions(*boxes), CLASSES, "box", 200, 100)
    assert len(back) == len(boxes)
    for one, other in zip(boxes, back, strict=True):
        assert (one.label, one.score) == (other.label, other.score)
        assert [other.x0, other.y0, other.x1, other.y1] == pytest.approx([one.x0, one.y0, one.x1, one.y1])


def test_ids_differ_within_an_image_even_for_equal_boxes():
    same = Box(0, 0.1, 0.1, 0.2, 0.2, 0.5)
    assert len({region["id"] for region in to_regions(same, same, same)}) == 3


def test_boxes_are_clipped_and_empty_ones_left_out():
    regions = to_regions(Box(0, -0.5, 0.5, 0.5, 1.5, 0.9), Box(1, 1.2, 0.1, 1.4, 0.2, 0.9), Box(1, 0.3, 0.3, 0.3, 0.4))
    assert len(regions) == 1
    value = regions[0]["value"]
    assert (value["x"], value["y"], value["width"], value["height"]) == (0, 50, 50, 50)


def test_a_class_that_the_version_does_not_have_is_an_error():
    with pytest.raises(DataError, match="class index 3"):
        to_regions(Box(3, 0.1, 0.1, 0.2, 0.2))


def rectangle(x: float, y: float, w: float, h: float, turn: float, labels: list[str], **more: object) -> dict:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": turn, "rectanglelabels": labels}
    return {"type": "rectanglelabels", "from_name": "box", "to_name": "photo", "value": value, **more}


def test_a_turned_rectangle_becomes_the_upright_box_around_it():
    # 40 x 20 pixels at (100, 50) of 200 x 100, a quarter turn clockwise about its top left corner.
    turned = rectangle(50, 50, 20, 20, 90, ["square"], original_width=200, original_height=100)
    (box,) = regions_to_boxes([turned], CLASSES, "box", 1, 1)
    assert [box.x0 * 200, box.y0 * 100, box.x1 * 200, box.y1 * 100] == pytest.approx([80, 50, 100, 90])


def test_the_box_around_a_half_turned_square_is_wider_by_the_root_of_two():
    turned = rectangle(50, 20, 10, 10, 45, ["square"], original_width=100, original_height=100)
    (box,) = regions_to_boxes([turned], CLASSES, "box", 1, 1)
    assert box.x1 - box.x0 == pytest.approx(0.1 * math.sqrt(2))


def test_other_controls_unknown_classes_and_broken_values_are_left_out():
    other = rectangle(1, 1, 5, 5, 0, ["circle"]) | {"from_name": "another"}
    unknown = rectangle(1, 1, 5, 5, 0, ["hexagon"])
    broken = rectangle(1, 1, 5, 5, 0, ["circle"])
    del broken["value"]["width"]
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    assert regions_to_boxes([other, unknown, broken, relation], CLASSES, "box", 10, 10) == []


def test_a_rectangle_with_two_classes_is_two_boxes():
    boxes = regions_to_boxes([rectangle(1, 1, 5, 5, 0, ["circle", "star"])], CLASSES, "box", 10, 10)
    assert [box.label for box in boxes] == [0, 2]


def test_the_validation_part_is_about_15_percent_and_stays_the_same():
    held = [in_validation_part(f"group-{i}") for i in range(4000)]
    assert 0.13 < sum(held) / len(held) < 0.17
    assert held == [in_validation_part(f"group-{i}") for i in range(4000)]


def test_an_image_without_detections_is_not_the_most_uncertain():
    nothing = image_uncertainty([])
    faint = image_uncertainty([detection_doubt(0.02, 0.015)] * 5)
    sure = image_uncertainty([detection_doubt(0.95, 0.01)] * 3)
    undecided = image_uncertainty([detection_doubt(0.5, 0.1)])
    assert nothing == 0.0
    assert nothing < faint < undecided and sure < undecided


def test_two_likely_classes_in_one_place_are_doubtful_though_the_score_is_high():
    assert detection_doubt(0.9, 0.85) > 0.9 > detection_doubt(0.9, 0.05) == pytest.approx(0.2)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20))
def test_uncertainty_stays_between_zero_and_one(pairs):
    doubts = [detection_doubt(max(pair), min(pair)) for pair in pairs]
    assert all(0.0 <= doubt <= 1.0 for doubt in doubts)
    assert 0.0 <= image_uncertainty(doubts) <= 1.0
