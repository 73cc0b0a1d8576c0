"""Which network a control needs and how it takes its results: classes, points, boxes around points, thresholds."""

from __future__ import annotations

from typing import Any

import pytest

from backends.yolo.checkpoint import Checkpoint
from backends.yolo.control_uses import control_uses, kind_of, show_threshold, value_tags
from backends.yolo.model_spec import ControlUse, Options, PointUse
from labelloop.errors import DataError, UsageError
from labelloop.label_config import LabelConfig, parse_label_config

LABELS = '<Label value="person"/><Label value="Car"/>'


def config(*tags: str) -> LabelConfig:
    return parse_label_config(f'<View><Image name="im" value="$image"/>{"".join(tags)}</View>')


def boxes(name: str = "box", labels: str = LABELS, more: str = "") -> str:
    return f'<RectangleLabels name="{name}" toName="im" {more}>{labels}</RectangleLabels>'


def points(name: str = "kp", labels: str = '<Label value="nose"/>') -> str:
    return f'<KeyPointLabels name="{name}" toName="im">{labels}</KeyPointLabels>'


def model(kind: str, *classes: str, **more: Any) -> Checkpoint:
    return Checkpoint(None, kind, classes, 640, {}, (17, 3) if kind == "pose" else None, **more)


def uses(config: LabelConfig, found: Checkpoint, *kinds: str) -> list[ControlUse]:
    return [use for use, _ in control_uses(config, found.kind, found, kinds or (found.kind,), "m.pt")]


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("RectangleLabels", "detect"), ('RectangleLabels model_obb="true"', "obb"), ("PolygonLabels", "segment"),
        ("BrushLabels", "segment"), ("KeyPointLabels", "pose"), ("EllipseLabels", None),
    ],
)  # fmt: skip
def test_each_control_needs_its_kind_of_network(tag, kind):
    name = tag.split()[0]
    (control,) = config(f'<{tag} name="c" toName="im"><Label value="a"/></{name}>').controls
    assert kind_of(control) == kind


def test_choices_of_a_text_need_no_image_network():
    xml = '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    assert kind_of(parse_label_config(xml).controls[0]) is None


def test_y4_case_does_not_matter_in_either_direction():
    (use,) = uses(config(boxes()), model("detect", "Person", "car", "dog"))
    assert use.mapping == {"Person": "person", "car": "Car"}


def test_y5_no_common_class_is_a_clear_error_at_import():
    with pytest.raises(DataError, match=r"(?s)none of the model's 2 classes .*'box'.*predicted_values"):
        uses(config(boxes()), model("detect", "dog", "cat"))


def test_classes_without_a_label_are_told_once_with_a_suggestion():
    ((_, warning),) = control_uses(config(boxes()), "detect", model("detect", "person", "cars"), ["detect"], "m.pt")
    assert "'cars' (did you mean 'Car'?)" in warning


def test_predicted_values_name_several_model_classes():
    labels = '<Label value="Vehicle" predicted_values="car, truck"/><Label value="person"/>'
    (use,) = uses(config(boxes(labels=labels)), model("detect", "person", "car", "truck", "bus"))
    assert use.mapping == {"person": "person", "car": "Vehicle", "truck": "Vehicle"}


def test_points_are_found_by_index_and_by_name():
    labels = (
        '<Label value="Left Eye"/><Label value="Snout" model_index="0" predicted_values="Person"/><Label value="tail"/>'
    )
    found = control_uses(config(points(labels=labels)), "pose", model("pose", "person", "dog"), ["pose"], "m.pt")
    ((use, warning),) = found
    assert use.points == {"Left Eye": PointUse(1, ("person", "dog")), "Snout": PointUse(0, ("person",))}
    assert "'tail'" in warning and "model_index" in warning


def test_a_models_own_point_names_go_before_cocos():
    found = model("pose", "tiger", point_names={"tiger": (*tuple(f"p{n}" for n in range(16)), "nose")})
    (use,) = uses(config(points()), found)
    assert use.points["nose"].index == 16


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ('<Label value="tail"/>', "is a point of the model"),
        ('<Label value="x" model_index="17"/>', "0 to 16"),
        ('<Label value="x" model_index="two"/>', "0 to 16"),
        ('<Label value="nose" predicted_values="cat"/>', "'cat'"),
    ],
)
def test_points_that_the_model_lacks_are_errors(label, message):
    with pytest.raises(DataError, match=message):
        uses(config(points(labels=label)), model("pose", "person"))


def test_boxes_around_points_go_to_the_control_of_that_name_with_its_classes():
    both = config(boxes(), boxes("kp_bbox", '<Label value="Human" predicted_values="person"/>'), points())
    taker, use = uses(both, model("pose", "person"), "detect", "pose")
    assert (taker.control, taker.mapping) == ("kp_bbox", {"person": "Human"})
    assert use.boxes == "kp_bbox"
    assert [use.control for use in uses(both, model("detect", "person"), "detect", "pose")] == ["box"]


def test_boxes_around_points_go_to_a_control_without_a_network_of_its_own():
    both = config(boxes(), points())
    assert [use.control for use in uses(both, model("pose", "person"), "pose")] == ["box", "kp"]
    (alone,) = uses(both, model("pose", "person"), "detect", "pose")
    assert alone.boxes is None


def test_a_taxonomys_classes_are_paths_and_the_last_name_stands_for_an_unmistakable_one():
    tree = (
        '<Taxonomy name="t" toName="im"><Choice value="Animal"><Choice value="cat"/><Choice value="other"/></Choice>'
        '<Choice value="Thing"><Choice value="cup" predicted_values="mug"/><Choice value="other"/></Choice></Taxonomy>'
    )
    (use,) = uses(config(tree), model("classify", "Cat", "mug", "other"))
    assert use.mapping == {"Cat": "Animal / cat", "mug": "Thing / cup"}
    assert use.paths["Thing / cup"] == ("Thing", "cup")


def test_multiple_choices_are_told_apart():
    tags = [
        f'<Choices name="c{c}" toName="im" choice="{c}"><Choice value="a"/></Choices>' for c in ("single", "multiple")
    ]
    assert [use.multiple for use in uses(config(*tags), model("classify", "a"))] == [False, True]


def test_the_threshold_of_a_tag_is_what_people_see_from():
    (control,) = config(boxes(more='model_score_threshold="0.1"')).controls
    assert show_threshold(control) == 0.1
    assert show_threshold(config(boxes()).controls[0]) == 0.3
    with pytest.raises(DataError, match="0 to 1"):
        show_threshold(config(boxes(more='model_score_threshold="high"')).controls[0])


def test_aliases_are_classes():
    (control,) = (found := config(boxes(labels='<Label value="Person" alias="p"/>'))).controls
    assert [tag.name for tag in value_tags(found, control)] == ["p"]


def test_options_are_checked_and_others_left_out():
    assert Options.of({"tile": 640.0, "half": False, "model_checkpoint": "x"}) == Options(tile=640, half=False)
    assert Options.of({"iou": 0.5}, Options(tile=320)) == Options(iou=0.5, tile=320)
    for wrong in ({"iou": 2}, {"iou": "much"}, {"half": "yes"}, {"tile": 5}, {"tile_overlap": 1}, {"max_det": 0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            Options.of(wrong)
