"""Key points linked to their boxes, and classes of whole images as Choices and Taxonomy."""

from __future__ import annotations

import numpy as np
import pytest

from backends.yolo.converters.choices import probabilities_to_region
from backends.yolo.converters.frame import Frame
from backends.yolo.converters.keypoint_labels import points_to_regions
from labelloop.label_config import parse_label_config

CONFIG = parse_label_config(
    '<View><Image name="im" valueList="$images"/>'
    '<KeyPointLabels name="kp" toName="im"><Label value="nose"/><Label value="eye"/><Label value="ear"/></KeyPointLabels>'
    '<Choices name="c" toName="im"><Choice value="day"/><Choice value="night"/></Choices>'
    '<Taxonomy name="t" toName="im"><Choice value="Time"><Choice value="day"/><Choice value="night"/></Choice></Taxonomy>'
    "</View>"
)
FRAME = Frame("kp", "im", "keypointlabels", 200, 100, item=1, address="/a")
POINTS = np.array([[20.0, 30.0, 0.9], [40.0, 50.0, 0.8], [60.0, 70.0, 0.1], [-1.0, 5.0, 0.9]])


def test_a_point_has_its_place_in_percent_and_the_score_of_object_and_sight():
    regions = points_to_regions(
        POINTS, {"nose": 0, "eye": 1}, 0.5, FRAME, number=0, size=0.5, threshold=0.5, parent="b"
    )
    nose, eye = regions
    assert nose["value"] == {
        "x": pytest.approx(10),
        "y": pytest.approx(30),
        "width": 0.5,
        "keypointlabels": ["nose"],
    }
    assert (nose["score"], eye["score"]) == (pytest.approx(0.45), pytest.approx(0.4))
    assert nose["parentID"] == eye["parentID"] == "b" and nose["item_index"] == 1
    assert all(CONFIG.problem_with(region) is None for region in regions)


def test_hidden_points_and_points_outside_the_image_are_left_out():
    places = {"nose": 0, "eye": 2, "ear": 3}
    regions = points_to_regions(POINTS, places, 0.5, FRAME, number=0, size=0.5, threshold=0.5)
    assert [region["value"]["keypointlabels"] for region in regions] == [["nose"]]
    assert "parentID" not in regions[0]


def test_ids_differ_between_objects_images_controls_and_tasks():
    frames = [
        FRAME,
        Frame("kp", "im", "keypointlabels", 200, 100, item=2, address="/a"),
        Frame("kp", "im", "keypointlabels", 200, 100, item=1, address="/b"),
        Frame("other", "im", "keypointlabels", 200, 100, item=1, address="/a"),
    ]
    ids = [
        region["id"]
        for frame in frames
        for number in range(3)
        for region in points_to_regions(POINTS, {"nose": 0, "eye": 1}, 0.5, frame, number=number, size=1, threshold=0.5)
    ]
    assert len(set(ids)) == len(ids) == 24


CHOICES = Frame("c", "im", "choices", item=0)


def test_a_single_choice_is_the_likeliest_class():
    region = probabilities_to_region({"day": 0.2, "night": 0.7}, CHOICES)
    assert region["value"] == {"choices": ["night"]} and region["score"] == 0.7
    assert "original_width" not in region and CONFIG.problem_with(region) is None


def test_a_multiple_choice_is_every_class_over_its_own_threshold():
    least = {"day": 0.3, "night": 0.8}
    both = probabilities_to_region({"day": 0.35, "night": 0.85}, CHOICES, thresholds=least)
    assert both["value"]["choices"] == ["day", "night"] and both["score"] == 0.85
    one = probabilities_to_region({"day": 0.35, "night": 0.7}, CHOICES, thresholds=least)
    assert one["value"]["choices"] == ["day"] and one["score"] == 0.35
    none = probabilities_to_region({"day": 0.1, "night": 0.7}, CHOICES, thresholds=least)
    assert none["value"]["choices"] == ["night"] and none["score"] < least["night"]


def test_a_taxonomy_names_the_path():
    paths = {"Time / day": ("Time", "day"), "Time / night": ("Time", "night")}
    frame = Frame("t", "im", "taxonomy", item=0)
    region = probabilities_to_region({"Time / day": 0.9, "Time / night": 0.1}, frame, paths=paths)
    assert region["value"] == {"taxonomy": [["Time", "day"]]}
    assert CONFIG.problem_with(region) is None


def test_nothing_over_the_floor_is_no_region():
    assert probabilities_to_region({"day": 0.001}, CHOICES, floor=0.01) is None
    assert probabilities_to_region({}, CHOICES) is None
