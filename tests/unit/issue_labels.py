"""Labels made by hand for detectors of label errors: two label configs, and regions of each of their controls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from labelloop.label_config import parse_label_config
from labelloop.masks import brush_of_pixels
from qa.issues import Label
from qa.issues.finding import Finding
from qa.kinds.registry import kind_of

AT = datetime(2026, 11, 2, 12, tzinfo=UTC)
CONFIG = parse_label_config(
    '<View><Text name="text" value="$text"/><Image name="image" value="$image"/>'
    '<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/><Choice value="Unsure"/></Choices>'
    '<RectangleLabels name="box" toName="image"><Label value="cell"/><Label value="plate"/></RectangleLabels>'
    '<Labels name="ner" toName="text"><Label value="PER"/><Label value="ORG"/></Labels></View>'
)
OTHERS = parse_label_config(
    '<View><Text name="text" value="$text"/><Image name="image" value="$image"/>'
    '<PolygonLabels name="outline" toName="image"><Label value="cell"/><Label value="plate"/></PolygonLabels>'
    '<BrushLabels name="mask" toName="image"><Label value="cell"/><Label value="plate"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image"><Label value="eye"/><Label value="ear"/></KeyPointLabels>'
    '<Choices name="tags" toName="text" choice="multiple"><Choice value="x"/><Choice value="y"/><Choice value="z"/></Choices>'
    '<Taxonomy name="tree" toName="text"><Choice value="A"><Choice value="B"/><Choice value="C"/></Choice></Taxonomy>'
    '<Rating name="stars" toName="text"/><Pairwise name="better" toName="text,image"/></View>'
)
MOOD, BOX, NER = (CONFIG.control(name) for name in ("mood", "box", "ner"))
KINDS: Any = {
    control.name: kind_of(control) for config in (CONFIG, OTHERS) for control in (*config.controls, *config.answers)
}


def label(task: int, who: int, *regions: dict[str, Any], text: str = "", at: datetime = AT) -> Label:
    return Label(task, task * 10 + who, who, at, regions, {"text": text})


def mood(name: str) -> dict[str, Any]:
    return {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": [name]}}


def box(name: str, of: str, *place: float, score: float | None = None) -> dict[str, Any]:
    value = dict(zip(("x", "y", "width", "height"), place, strict=True)) | {"rectanglelabels": [of]}
    return {"id": name, "from_name": "box", "type": "rectanglelabels", "value": value, "score": score}


def span(name: str, of: str, start: int, end: int, score: float | None = None) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [of]}
    return {"id": name, "from_name": "ner", "type": "labels", "value": value, "score": score}


def told(findings: list[Finding]) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(each.type, each.region, each.given, each.suggested) for each in findings]


def outline(name: str, of: str, x: float, y: float, side: float, score: float | None = None) -> dict[str, Any]:
    points = [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
    value = {"points": points, "polygonlabels": [of]}
    return {"id": name, "from_name": "outline", "type": "polygonlabels", "value": value, "score": score}


def brushed(
    name: str, of: str, x: int, y: int, side: int, score: float | None = None, scale: int = 1
) -> dict[str, Any]:
    pixels = np.zeros((100 * scale, 100 * scale), dtype=bool)
    pixels[y * scale : (y + side) * scale, x * scale : (x + side) * scale] = True
    value = {"format": "rle", "rle": brush_of_pixels(pixels), "brushlabels": [of]}
    size = {"original_width": 100 * scale, "original_height": 100 * scale}
    return {"id": name, "from_name": "mask", "type": "brushlabels", "value": value, "score": score, **size}


def point(name: str, of: str, x: float, y: float, score: float | None = None) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 1, "keypointlabels": [of]}
    return {"id": name, "from_name": "point", "type": "keypointlabels", "value": value, "score": score}
