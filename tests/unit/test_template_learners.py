"""The backend that a template names learns its main control, by the kind of network or component that the guide tells."""

from __future__ import annotations

import pytest

from backends.spacy_nlp.training import SPAN_MODELS, learnable_controls
from backends.yolo.learning.lessons import learnable, lessons_for
from labelloop.label_config import parse_label_config
from templates.catalogue import list_templates, load_template

TEMPLATES = [load_template(name) for name in list_templates()]
KINDS = {
    "bbox": "detect", "obb": "obb", "polygon": "segment", "brush": "segment", "keypoint": "pose",
    "image_classification": "classify",
}  # fmt: skip


@pytest.mark.parametrize("name", [each.name for each in TEMPLATES if each.backend == "yolo"])
def test_images_are_learned_by_the_network_of_their_shapes(name: str) -> None:
    config = parse_label_config(load_template(name).config)
    if name == "image_multilabel":
        assert not any(learnable(control) for control in config.controls)
        return
    names = {control.name for control in config.controls}
    (lesson,) = lessons_for(config, names)
    assert lesson.kind == KINDS[name] and {control.name for control in lesson.controls} == names


@pytest.mark.parametrize("name", [each.name for each in TEMPLATES if each.backend == "spacy_nlp"])
def test_texts_are_learned_by_spacy(name: str) -> None:
    template = load_template(name)
    config = parse_label_config(template.config)
    assert [control.name for control in learnable_controls(config)] == ["label"]
    options = template.defaults["active_learning"].get("model_options", {})
    assert options.get("span_model", "auto") in SPAN_MODELS
    assert (name == "spancat") == (options == {"span_model": "spancat"})
