"""What each kind of network learns from a label, and how its answers are measured: figures by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backends.version_labels import ControlLabels
from backends.yolo.converters.frame import Frame
from backends.yolo.converters.keypoint_labels import points_to_regions
from backends.yolo.converters.rectangle_labels import Box, boxes_to_regions
from backends.yolo.learning.classify import ChoiceLesson, Chosen
from backends.yolo.learning.detect import BoxLesson
from backends.yolo.learning.lesson import LabelledImage
from backends.yolo.learning.lessons import lessons_for
from backends.yolo.learning.obb import TurnedLesson, turned_iou
from backends.yolo.learning.pose import COCO_SIGMAS, SIGMA, Pose, PoseLesson, mirrored, similarity
from backends.yolo.learning.segment import OutlineLesson, mask_iou
from backends.yolo.measuring import judged_objects
from backends.yolo.metrics import box_iou, confusion, precision_curves
from labelloop.errors import DataError
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.masks import brush_of_pixels, mask_of_pixels

CONTROLS = {
    "box": '<RectangleLabels name="box" toName="image"><Label value="a"/><Label value="b"/></RectangleLabels>',
    "turned": '<RectangleLabels name="turned" toName="image" model_obb="true"><Label value="a"/></RectangleLabels>',
    "outline": '<PolygonLabels name="outline" toName="image"><Label value="a"/><Label value="b"/></PolygonLabels>',
    "brush": '<BrushLabels name="brush" toName="image"><Label value="a"/></BrushLabels>',
    "point": '<KeyPointLabels name="point" toName="image"><Label value="left"/><Label value="right"/></KeyPointLabels>',
    "class": '<Choices name="class" toName="image"><Choice value="a"/><Choice value="b"/></Choices>',
    "many": '<Choices name="many" toName="image" choice="multiple"><Choice value="a"/></Choices>',
    "each": '<Choices name="each" toName="image" perRegion="true"><Choice value="a"/></Choices>',
}


def config(*names: str) -> LabelConfig:
    return parse_label_config(
        f'<View><Image name="image" value="$image"/>{"".join(CONTROLS[name] for name in names)}</View>'
    )


def region(control: str, kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    size = {"original_width": 200, "original_height": 100}
    return (
        {"id": f"{control}-{value}", "from_name": control, "to_name": "image", "type": kind, "value": value}
        | size
        | more
    )


def rectangle(control: str, x: float, y: float, w: float, h: float, label: str = "a", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": more.pop("rotation", 0), "rectanglelabels": [label]}
    return region(control, "rectanglelabels", value, **more)


def point(x: float, y: float, label: str, **more: Any) -> dict[str, Any]:
    return region("point", "keypointlabels", {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}, **more)


# -- which lessons a config gives -------------------------------------------------------------------------------------


def kinds(names: list[str], used: set[str]) -> list[tuple[str, str]]:
    return [(lesson.kind, lesson.control.name) for lesson in lessons_for(config(*names), used)]


def test_every_kind_that_has_labels_is_a_lesson() -> None:
    names = ["class", "outline", "box", "turned"]
    assert kinds(names, set(names)) == [
        ("detect", "box"), ("obb", "turned"), ("segment", "outline"), ("classify", "class")
    ]  # fmt: skip
    assert kinds(names, {"outline"}) == [("segment", "outline")]


def test_of_two_controls_of_a_kind_the_one_with_labels_is_learned() -> None:
    assert kinds(["outline", "brush"], {"brush"}) == [("segment", "brush")]
    assert kinds(["outline", "brush"], {"brush", "outline"}) == [("segment", "outline")]


def test_boxes_around_points_are_learned_with_the_points() -> None:
    (lesson,) = lessons_for(config("box", "point"), {"box", "point"})
    assert isinstance(lesson, PoseLesson) and lesson.classes == ("a", "b") and lesson.point_shape == (2, 3)
    assert [use.control for use in lesson.uses()] == ["box", "point"] and lesson.uses()[1].boxes == "box"
    assert kinds(["box", "point"], {"box"}) == [("detect", "box")]
    (alone,) = lessons_for(config("point"), {"point"})
    assert alone.classes == ("object",) and alone.uses()[0].boxes is None


def test_what_cannot_be_learned_is_said() -> None:
    with pytest.raises(DataError, match="nothing that yolo learns"):
        lessons_for(config("many", "each"), {"many"})
    assert kinds(["many", "class"], {"many"}) == [("classify", "class")]  # nothing labelled: what there could be


# -- turned boxes -----------------------------------------------------------------------------------------------------

UNIT = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def test_iou_of_turned_boxes_by_hand() -> None:
    r = math.sqrt(0.5)
    diamond = ((0.5, 0.5 - r), (0.5 + r, 0.5), (0.5, 0.5 + r), (0.5 - r, 0.5))
    # A unit square turned by 45 degrees on another shares a regular octagon: 2 (sqrt 2 - 1).
    octagon = 2 * (math.sqrt(2) - 1)
    half = ((0.5, 0.0), (1.5, 0.0), (1.5, 1.0), (0.5, 1.0))
    away = ((5.0, 5.0), (6.0, 5.0), (6.0, 6.0), (5.0, 6.0))
    found = turned_iou([UNIT], [UNIT, diamond, half, away])
    assert found[0] == pytest.approx([1.0, octagon / (2 - octagon), 1 / 3, 0.0])
    assert turned_iou([], [UNIT]).shape == (0, 1)


def test_a_turned_box_is_told_by_its_corners_in_fractions() -> None:
    lesson = TurnedLesson(config("turned").control("turned"))
    # 40 x 20 pixels at (100, 20) of an image of 200 x 100, turned clockwise by 90 degrees about that corner.
    (box,) = lesson.objects([rectangle("turned", 50, 20, 20, 20, rotation=90)], (1, 1), None)
    expected = [(0.5, 0.2), (0.5, 0.6), (0.4, 0.6), (0.4, 0.2)]
    assert np.array(box.corners) == pytest.approx(np.array(expected))
    assert lesson.row(box).split()[:3] == [b"0", b"0.50000000", b"0.20000000"]
    bad = rectangle("turned", 50, 20, 20, 20) | {"value": {"rectanglelabels": ["a"]}}
    assert lesson.objects([bad, rectangle("box", 0, 0, 9, 9)], (1, 1), None) == []


# -- outlines ---------------------------------------------------------------------------------------------------------


def polygon(points: list[tuple[float, float]], label: str = "a") -> dict[str, Any]:
    return region("outline", "polygonlabels", {"points": [list(p) for p in points], "polygonlabels": [label]})


def test_iou_of_outlines_counts_pixels() -> None:
    lesson = OutlineLesson(config("outline").control("outline"))
    square = [(0, 0), (50, 0), (50, 100), (0, 100)]
    (left,) = lesson.objects([polygon(square)], (1, 1), None)
    (wedge,) = lesson.objects([polygon([(0, 0), (50, 100), (0, 100)])], (1, 1), None)
    (right,) = lesson.objects([polygon([(60, 0), (100, 0), (100, 100)])], (1, 1), None)
    assert left.mask.area == 100 * 100
    assert lesson.overlap([wedge, right, left], [left], (200, 100))[:, 0] == pytest.approx([0.5, 0.0, 1.0], abs=0.01)
    assert (
        lesson.row(left)
        == b"0 0.00000000 0.00000000 0.50000000 0.00000000 0.50000000 1.00000000 0.00000000 1.00000000\n"
    )
    assert lesson.objects([polygon([(0, 0), (1, 1)])], (1, 1), None) == []


def test_a_painted_mask_with_a_hole_is_one_outline_of_the_same_area() -> None:
    lesson = OutlineLesson(config("brush").control("brush"))
    pixels = np.zeros((100, 200), dtype=bool)
    pixels[20:60, 40:100] = True
    pixels[30:40, 60:80] = False
    value = {"format": "rle", "rle": brush_of_pixels(pixels), "brushlabels": ["a"]}
    (painted,) = lesson.objects([region("brush", "brushlabels", value)], (1, 1), None)
    assert painted.mask.area == 40 * 60 - 10 * 20
    assert (painted.box.x0, painted.box.y1) == (0.2, 0.6)
    drawn = type(painted)(0, (200, 100), painted.points)
    assert mask_iou(drawn.mask, painted.mask) == 1.0
    broken = region("brush", "brushlabels", {"format": "rle", "rle": [1, 2], "brushlabels": ["a"]})
    empty = region("brush", "brushlabels", value | {"rle": brush_of_pixels(np.zeros_like(pixels))})
    assert lesson.objects([broken, empty], (1, 1), None) == []


def test_masks_of_two_sizes_are_compared_on_the_second_ones() -> None:
    small = np.zeros((10, 10), dtype=bool)
    small[:5] = True
    assert mask_iou(mask_of_pixels(small), mask_of_pixels(small.repeat(2, axis=0).repeat(2, axis=1))) == 1.0


# -- poses ------------------------------------------------------------------------------------------------------------


def test_object_keypoint_similarity_by_hand() -> None:
    box = Box(0, 0.0, 0.0, 0.5, 0.5)
    truth = Pose(box, ((0.1, 0.1), (0.4, 0.4)))
    # 100 x 50 pixels of the image count 0.53 of 5,000; the first point is 10 pixels off, the second in its place.
    near = math.exp(-(10**2) / (2 * 0.53 * 5000 * (2 * SIGMA) ** 2))
    told = Pose(box, ((0.15, 0.1), (0.4, 0.4)), 0.9)
    assert similarity(told, truth, (200, 100), (SIGMA, SIGMA)) == pytest.approx((near + 1) / 2)
    assert similarity(Pose(box, ((0.1, 0.1), None)), truth, (200, 100), (SIGMA, SIGMA)) == pytest.approx(0.5)
    one = Pose(box, ((0.1, 0.1), None))  # a point that nobody labelled is not counted
    assert similarity(told, one, (200, 100), (SIGMA, SIGMA)) == pytest.approx(near)
    assert len(COCO_SIGMAS) == 17


def test_points_belong_to_their_parent_else_to_the_only_box_around_them() -> None:
    (lesson,) = lessons_for(config("box", "point"), {"box", "point"})
    boxes = [rectangle("box", 0, 0, 40, 80, id="one"), rectangle("box", 50, 0, 40, 80, "b", id="two")]
    poses = lesson.objects(
        [*boxes, point(10, 10, "left"), point(60, 20, "left"), point(12, 30, "right", parentID="two")], (200, 100), None
    )
    assert [pose.label for pose in poses] == [0, 1]
    assert poses[0].points == (pytest.approx((0.1, 0.1)), None)
    assert poses[1].points == (pytest.approx((0.6, 0.2)), pytest.approx((0.12, 0.3)))
    row = lesson.row(poses[0]).split()
    assert row[0] == b"0" and row[5:] == [b"0.10000000", b"0.10000000", b"2", b"0", b"0", b"0"]


def test_points_without_a_box_get_one_with_a_margin() -> None:
    (lesson,) = lessons_for(config("point"), {"point"})
    (pose,) = lesson.objects([point(20, 50, "left"), point(60, 50, "right")], (200, 100), None)
    assert (pose.box.x0, pose.box.y0, pose.box.x1, pose.box.y1) == pytest.approx((0.14, 0.44, 0.66, 0.56))


@pytest.mark.parametrize("with_box", [True, False])
def test_answers_are_grouped_as_the_network_said_them(with_box: bool) -> None:
    names = ("box", "point") if with_box else ("point",)
    (lesson,) = lessons_for(config(*names), set(names))
    frame = Frame("point", "image", "keypointlabels", 200, 100, address="/a")
    regions: list[dict[str, Any]] = []
    for number, left in enumerate((20.0, 120.0)):
        found = np.array([[left, 20.0, 0.9], [left + 10, 40.0, 0.8 if number else 0.2]])
        around = Box(0, left / 200, 0.1, (left + 20) / 200, 0.5, 0.7)
        around = Box(0, left / 200, 0.1, (left + 20) / 200, 0.5, 0.7)
        boxed = boxes_to_regions([around], lesson.classes, Frame("box", "image", "rectanglelabels", 200, 100))[0]
        boxed["id"] = Frame("box", "image", "", address="/a").region_id(("point", number))
        own = points_to_regions(found, {"left": 0, "right": 1}, 0.7, frame, number=number, size=1.0, threshold=0.5)
        regions += [*([boxed] if with_box else []), *own]
    poses = lesson.answered(regions[::-1], LabelledImage(1, {}, {}, (), "/a", size=(200, 100)))
    assert [pose.points[1] for pose in poses] == [None, pytest.approx((0.65, 0.4))]
    assert [pose.score for pose in poses] == pytest.approx([0.7, 0.7] if with_box else [0.63, 0.63])


def test_mirror_images_swap_left_and_right() -> None:
    assert mirrored(["nose", "Left eye", "Right eye"]) == [0, 2, 1]
    assert mirrored(["tip", "tail"]) == [] and mirrored(["left", "tail"]) == []
    assert mirrored(["left", "right"]) == [1, 0]


def test_a_point_is_shown_from_the_lowest_threshold_of_its_objects() -> None:
    (lesson,) = lessons_for(config("box", "point"), {"box", "point"})
    points, boxes = lesson.labels({"a": 0.4, "b": 0.6})
    assert points.show_threshold == {"left": 0.4, "right": 0.4} and boxes.show_threshold == {"a": 0.4, "b": 0.6}
    assert lesson.thresholds({"box": boxes, "point": points}) == [0.4, 0.6] and lesson.thresholds({}) == [1.0, 1.0]


# -- choices ----------------------------------------------------------------------------------------------------------


def test_the_choice_of_an_image_is_its_first_known_class() -> None:
    lesson = ChoiceLesson(config("class").control("class"))
    said = region("class", "choices", {"choices": ["x", "b"]})
    assert lesson.objects([said], (1, 1), None) == [Chosen(1)]
    assert lesson.objects([said | {"item_index": 1}], (1, 1), 0) == []
    assert lesson.lacks([LabelledImage(1, {}, {}, (Chosen(1),))]) is None
    assert lesson.lacks([]) == "no choice is labelled"


# -- measures ---------------------------------------------------------------------------------------------------------


def test_a_confusion_matrix_pairs_whatever_the_classes() -> None:
    truths = [Box(0, 0, 0, 0.2, 0.2), Box(1, 0.5, 0.5, 0.7, 0.7), Box(1, 0.8, 0.8, 0.9, 0.9)]
    answers = [Box(1, 0, 0, 0.2, 0.2, 0.9), Box(1, 0.5, 0.5, 0.7, 0.72, 0.8), Box(1, 0.5, 0.5, 0.7, 0.7, 0.5)]
    table = confusion(answers, truths, box_iou(answers, truths), 0.5, 2)
    # The first is called 1, the second is found by the nearer of two boxes, the other is a false alarm, the third missed.
    assert table.tolist() == [[0, 1, 0], [0, 1, 1], [0, 1, 0]]


def test_false_alarms_on_images_without_a_truth_are_counted_above_the_threshold() -> None:
    lesson = BoxLesson(config("box").control("box"))
    there = LabelledImage(1, {}, {}, (Box(0, 0, 0, 0.2, 0.2),))
    images = [there, LabelledImage(2, {}, {}, ()), LabelledImage(3, {}, {}, ())]
    answers = [
        [Box(0, 0, 0, 0.2, 0.2, 0.9)],
        [Box(0, 0, 0, 0.2, 0.2, 0.6), Box(1, 0, 0, 0.2, 0.2, 0.6), Box(0, 0, 0, 0.2, 0.2, 0.4)],
        [Box(1, 0, 0, 0.2, 0.2, 0.8)],
    ]
    found = judged_objects(lesson, images, answers, [0.5, 0.7])
    assert (found.backgrounds, found.false_alarms, found.false_alarms_per_background) == (2, 2, 1.0)
    assert found.table == [[1, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert found.items[1] == {"label": ["a"], "score": [0.9], "hit": [1], "truths": {"a": 1}}
    details = found.details([0.5, 0.7], 0.1)
    assert details["confusion"]["classes"] == ["a", "b", "background"]
    assert details["confusion"]["most_confused"] == [["background", "a", 1], ["background", "b", 1]]
    assert details["false_positives_per_background_image"] == 1.0 and details["value"] == pytest.approx(1.0)
    assert judged_objects(lesson, [there], [[]], [0.5, 0.5]).false_alarms_per_background is None


def test_curves_tell_the_precision_at_each_recall() -> None:
    item = {"label": ["a", "a", "a"], "score": [0.9, 0.8, 0.7], "hit": [1, 0, 1], "truths": {"a": 2}}
    curves = precision_curves([item])
    assert (len(curves["recall"]), curves["recall"][10]) == (21, 0.5)
    assert curves["precision"]["a"][:12] == [1.0] * 11 + [0.6667] and curves["precision"]["a"][-1] == 0.6667


def test_naive_answers_are_the_mean_of_the_commonest_class() -> None:
    outline = OutlineLesson(config("outline").control("outline"))
    drawn = outline.objects([polygon([(0, 0), (40, 0), (40, 40), (0, 40)], "b")], (1, 1), None)
    (answer,) = outline.naive([LabelledImage(1, {}, {}, tuple(drawn))])
    assert answer.label == 1 and outline.overlap([answer], drawn, (200, 100))[0, 0] == 1.0
    (pose,) = lessons_for(config("box", "point"), {"point"})
    found = pose.objects([rectangle("box", 0, 0, 40, 80), point(10, 20, "left")], (200, 100), None)
    (mean,) = pose.naive([LabelledImage(1, {}, {}, tuple(found))])
    assert mean.points == (pytest.approx((0.1, 0.2)), None)
    choice = ChoiceLesson(config("class").control("class"))
    chosen = [LabelledImage(n, {}, {}, (Chosen(label),)) for n, label in enumerate((0, 1, 1))]
    assert choice.naive(chosen) == [Chosen(1, 1.0)]
    assert all(lesson.naive([]) == [] for lesson in (outline, pose, choice))


def test_a_version_that_does_not_know_a_class_shows_it_never() -> None:
    lesson = BoxLesson(config("box").control("box"))
    known = ControlLabels("box", "image", "image", "rectanglelabels", ("a",), {"a": 0.4})
    assert lesson.thresholds({"box": known}) == [0.4, 1.0]
