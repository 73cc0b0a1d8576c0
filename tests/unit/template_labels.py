"""What a person may answer to the first sample of a template, as Label Studio writes it, whatever its control is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelloop.label_config import Control, parse_label_config
from labelloop.masks import brush_of_pixels
from templates.catalogue import STEP, Template

WIDTH, HEIGHT = 320, 240


def main_control(template: Template, xml: str | None = None) -> Control:
    """What people answer a template with."""
    config = parse_label_config(xml or template.config)
    return next(each for each in (*config.controls, *config.answers) if each.tag == template.control)


def answer_to(template: Template, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The regions of one label: one of the main control, of key points also the box around it."""
    control = main_control(template)
    shared: dict[str, Any] = {
        "id": "r1",
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.region_type,
    }
    if control.object_tag == "Image" and control.tag != "Choices":
        shared |= {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    first = template.example_classes[0] if template.example_classes else ""
    value = _value(control, first, data)
    if control.tag != "KeyPointLabels":
        return [{**shared, "value": value}]
    box = {"x": 20, "y": 15, "width": 60, "height": 75, "rotation": 0, "rectanglelabels": ["object"]}
    around = {**shared, "id": "b1", "from_name": "label_bbox", "type": "rectanglelabels", "value": box}
    return [around, {**shared, "value": value, "parentID": "b1"}]


def _value(control: Control, first: str, data: Mapping[str, Any]) -> dict[str, Any]:
    match control.tag:
        case "RectangleLabels":
            turned = 12 if control.attributes.get("model_obb") == "true" else 0
            return {"x": 15, "y": 20, "width": 25, "height": 30, "rotation": turned, "rectanglelabels": [first]}
        case "PolygonLabels":
            return {"points": [[12, 16], [40, 16], [40, 58], [12, 58]], "closed": True, "polygonlabels": [first]}
        case "BrushLabels":
            pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
            pixels[60:120, 50:130] = True
            return {"format": "rle", "rle": brush_of_pixels(pixels), "brushlabels": [first]}
        case "KeyPointLabels":
            return {"x": 50, "y": 27, "width": 0.5, "keypointlabels": [first]}
        case "Labels":
            text = data[control.data_key]
            start = text.index(" ") + 1
            end = text.index(" ", text.index(" ", start) + 1)
            return {"start": start, "end": end, "text": text[start:end], "labels": [first]}
        case "Choices":
            return {"choices": [first]}
        case "Taxonomy":
            return {"taxonomy": [first.split(STEP)]}
        case "Pairwise":
            return {"selected": "left"}
        case "Rating":
            return {"rating": 4}
        case tag:
            raise AssertionError(f"tell here how people answer <{tag}>")
