"""The templates: what Label Studio gets, what the loop starts from."""

from __future__ import annotations

import base64
import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from defusedxml import ElementTree
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from template_labels import HEIGHT, WIDTH, main_control

from backends import BACKENDS
from labelloop.errors import DataError, UsageError
from labelloop.label_config import parse_label_config
from labelloop.settings import ProjectSettings
from qa.kinds.registry import kind_of, why_unmeasured
from sync.formats.registry import load_format
from templates.catalogue import _template, distinct_colours, list_templates, load_template

NAMES = list_templates()
WITH_CLASSES = [name for name in NAMES if load_template(name).example_classes]
ODD_CLASSES = ["plain", "with space", 'a "quoted" one', "<b>&amp;</b>", "it's", "Größe 東京", "$price"]


def test_each_task_type_has_a_template() -> None:
    assert set(NAMES) >= {
        "bbox", "obb", "polygon", "brush", "keypoint", "image_classification", "image_multilabel", "ner", "spancat",
        "text_classification", "text_multilabel", "text_taxonomy", "pairwise", "rating", "tabular",
    }  # fmt: skip
    assert {name for name in NAMES if not load_template(name).example_classes} == {"pairwise", "rating"}


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_the_config_carries_the_classes_whatever_they_are_called(name: str) -> None:
    template = load_template(name)
    xml = template.config_for(ODD_CLASSES)
    control = main_control(template, xml)
    assert control.classes == tuple(ODD_CLASSES)
    assert control.data_key == template.data_key
    for example in template.example_classes:
        assert f'value="{example}"' not in xml


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_the_config_with_other_classes_is_the_file_in_all_else(name: str) -> None:
    template = load_template(name)
    assert template.config_for(template.example_classes) == template.config
    other = replace(template, example_classes=("other",), config=template.config_for(["other"]))
    assert other.config_for(template.example_classes) == template.config


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_whole_and_has_a_colour_for_every_class_that_is_drawn(name: str) -> None:
    template = load_template(name)
    assert "<!--" not in template.config and template.config.startswith("<View>")
    labels = [element for element in ElementTree.fromstring(template.config).iter("Label")]
    assert len({element.attrib["background"] for element in labels}) == len(labels)
    control = main_control(template)
    assert control.name == "label" and control.data_key == template.data_key


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_named_by_its_task_type_and_has_a_real_guideline(name: str) -> None:
    template = load_template(name)
    assert template.task_type == template.name == name
    assert len(template.guideline.split()) > 200
    assert "## Working with suggestions" in template.guideline and "\n| " in template.guideline
    assert "unsure" in template.guideline.casefold() and "skip" in template.guideline.casefold()
    assert "\n- " in template.guideline and "\n1. " in template.guideline
    assert set(template.defaults) == {"quality", "active_learning", "export"}


@pytest.mark.parametrize("name", NAMES)
def test_the_samples_are_few_fit_the_config_and_need_no_network(name: str) -> None:
    template = load_template(name)
    assert 3 <= len(template.samples) <= 5
    for sample in template.samples:
        assert set(sample["data"]) == set(template.data_keys)
    for address in [sample["data"].get("image") for sample in template.samples]:
        if address is not None:
            head, _, content = address.partition(",")
            assert head == "data:image/png;base64" and len(content) < 2000
            assert Image.open(io.BytesIO(base64.b64decode(content, validate=True))).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_template_names_is_there(name: str) -> None:
    template = load_template(name)
    settings = ProjectSettings.model_validate(template.defaults)
    assert template.backend is None or template.backend in BACKENDS
    # Where nothing learns, no training is to start by itself.
    assert settings.active_learning.enabled == (template.backend is not None and name != "image_multilabel")
    form = load_format(settings.export.format)
    assert settings.export.task is None or settings.export.task in form.tasks
    control = main_control(template)
    assert kind_of(control) is not None, why_unmeasured(control)


def test_classes_of_a_tree_are_paths() -> None:
    template = load_template("text_taxonomy")
    xml = template.config_for(["a / b / c", "d", "a / e"])
    assert main_control(template, xml).paths == {("a",), ("a", "b"), ("a", "b", "c"), ("a", "e"), ("d",)}
    for wrong in ("a /  / b", "a / ", " / b", "a / b\n"):
        with pytest.raises(UsageError, match="is no class name"):
            template.config_for(["d", wrong])
    with pytest.raises(UsageError, match="listed twice"):
        template.config_for(["a / b", "a / b"])


@pytest.mark.parametrize("name", ["pairwise", "rating"])
def test_classes_for_a_control_without_classes_are_refused(name: str) -> None:
    template = load_template(name)
    assert template.config_for([]) == template.config
    with pytest.raises(UsageError, match=f"{name!r} takes no classes"):
        template.config_for(["good", "bad"])


def test_box_of_key_points_are_those_around_them() -> None:
    config = parse_label_config(load_template("keypoint").config_for(["tip", "base"]))
    assert [(control.name, control.classes) for control in config.controls] == [
        ("label_bbox", ("object",)),
        ("label", ("tip", "base")),
    ]


@pytest.mark.parametrize("classes", [[], ["a", "a"], [""], [" a"], ["a\nb"], "abc"])
def test_classes_that_cannot_be_are_refused(classes: list[str]) -> None:
    with pytest.raises(UsageError):
        load_template("bbox").config_for(classes)


def test_an_unknown_template_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'text_classification'"):
        load_template("text_clasification")
    with pytest.raises(UsageError, match="Known templates: bbox"):
        load_template("../bbox")


def test_colours_are_distinct() -> None:
    colours = distinct_colours(36)
    assert len(set(colours)) == 36
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


RAW = {
    "title": "t", "task_type": "bbox", "backend": "yolo", "control": "RectangleLabels", "data_key": "image",
    "classes": ["a"], "quality": {}, "active_learning": {}, "export": {},
}  # fmt: skip
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="a"/>'
    "</RectangleLabels></View>"
)
SAMPLES = [{"data": {"image": "a.png"}}]


@pytest.mark.parametrize(
    ("raw", "config", "samples", "words"),
    [
        ({**RAW, "colour": 1}, CONFIG, SAMPLES, "exactly the keys"),
        ({**RAW, "quality": {"overlap": 1}}, CONFIG, SAMPLES, "overlap"),
        ({**RAW, "data_key": "picture"}, CONFIG, SAMPLES, "data_key"),
        ({**RAW, "classes": ["a", "b"]}, CONFIG, SAMPLES, "classes"),
        ({**RAW, "control": "Choices"}, CONFIG, SAMPLES, "control"),
        (RAW, CONFIG.replace('value="a"', 'value="b"'), SAMPLES, "classes"),
        (RAW, CONFIG.replace("</View>", '<RectangleLabels name="l" toName="image"></RectangleLabels></View>'), SAMPLES,
         "one <RectangleLabels>"),
        (RAW, CONFIG, [{"data": {"picture": "a.png"}}], "lacks 'image'"),
        (RAW, CONFIG, {"image": "a.png"}, "list of tasks"),
        (RAW, CONFIG, [{"image": "a.png"}], "list of tasks"),
    ],
)  # fmt: skip
def test_a_broken_template_says_what_is_wrong(raw: dict[str, object], config: str, samples: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        _template("bbox", raw, config, "guideline", samples)
    assert _template("bbox", RAW, CONFIG, "guideline", SAMPLES).backend == "yolo"


def test_a_config_without_line_breaks_takes_other_classes_too() -> None:
    template = _template("bbox", RAW, CONFIG, "guideline", SAMPLES)
    assert [c.classes for c in parse_label_config(template.config_for(["x", "y"])).controls] == [("x", "y")]
