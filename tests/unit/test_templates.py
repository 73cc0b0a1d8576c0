"""The templates: what Label Studio gets, what the loop starts from."""

from __future__ import annotations

import re

import pytest

from labelloop.errors import DataError, UsageError
from labelloop.label_config import parse_label_config
from templates.catalogue import PLACEHOLDER, _template, distinct_colours, list_templates, load_template


def test_the_three_templates_are_there() -> None:
    assert {"bbox", "ner", "text_classification"} <= set(list_templates())


@pytest.mark.parametrize("name", list_templates())
def test_the_config_carries_the_classes_whatever_they_are_called(name: str) -> None:
    template = load_template(name)
    classes = ["plain", "with space", 'a "quoted" one', "<b>&amp;</b>", "it's", "Größe 東京", "$price"]
    config = parse_label_config(template.config_for(classes))
    control = config.first(template.control)
    assert control.classes == tuple(classes)
    assert control.data_key == template.data_key
    assert PLACEHOLDER not in config.xml


@pytest.mark.parametrize("name", list_templates())
def test_a_template_is_named_by_its_task_type_and_has_a_real_guideline(name: str) -> None:
    template = load_template(name)
    assert template.task_type == template.name == name
    assert len(template.guideline.split()) > 200
    assert "suggestion" in template.guideline
    assert set(template.defaults) == {"quality", "active_learning", "export"}


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
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><!-- classes -->'
    "</RectangleLabels></View>"
)


@pytest.mark.parametrize(
    ("raw", "config", "words"),
    [
        ({**RAW, "colour": 1}, CONFIG, "exactly the keys"),
        ({**RAW, "quality": {"overlap": 1}}, CONFIG, "overlap"),
        ({**RAW, "data_key": "picture"}, CONFIG, "data_key"),
        (RAW, CONFIG.replace(PLACEHOLDER, ""), "classes"),
    ],
)
def test_a_broken_template_says_what_is_wrong(raw: dict[str, object], config: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        _template("bbox", raw, config, "guideline")
    assert _template("bbox", RAW, CONFIG, "guideline").backend == "yolo"
