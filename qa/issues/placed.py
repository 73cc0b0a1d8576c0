"""Boxes and spans of labels and predictions with the ids of their regions, as the detectors take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import DataError
from labelloop.geometry import ellipse_rectangle, rectangle_points
from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.boxes import ELLIPSES
from qa.kinds.kind import labels_in, under
from qa.kinds.regions import item_of, label_of, size_of

Floats = NDArray[np.float64]
#: Control tags whose answers are read here. Ellipses are read as the rectangles along their axes.
BOX_TAGS = ("RectangleLabels", "Rectangle", "EllipseLabels", "Ellipse")
SPAN_TAGS = ("Labels", "HyperTextLabels")


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of one task and author, with `corners` (n, 4, 2) in pixels, percents where the size is unknown.

    `scores` are 1 for people; `items` the places of images in a task with several.
    """

    corners: Floats
    labels: tuple[str, ...]
    regions: tuple[str, ...]
    scores: tuple[float, ...]
    items: tuple[int, ...]
    sizes: tuple[tuple[float, float], ...]

    def __len__(self) -> int:
        return len(self.labels)

    def values(self, at: int) -> list[float]:
        """x, y, width and height in percent of the upright box about one."""
        low, high = self.corners[at].min(axis=0), self.corners[at].max(axis=0)
        width, height = self.sizes[at]
        return [
            round(float(v), 2)
            for v in (*(low * (100 / width, 100 / height)), *((high - low) * (100 / width, 100 / height)))
        ]


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans of one task and author; `places` tell nodes of a hypertext apart."""

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    places: tuple[str, ...] = ()
    text: str | None = field(default=None)

    def __len__(self) -> int:
        return len(self.labels)


def read_boxes(result: Sequence[Region], control: Control) -> Boxes:
    """The boxes under a control; regions that can't be read are left out."""
    corners, rows = [], []
    shape = ellipse_rectangle if control.tag in ELLIPSES else rectangle_points
    for region in under(result, control):
        value = region.get("value")
        width, height = size_of(region)
        try:
            corners.append(shape(value if isinstance(value, Mapping) else {}, width, height))
        except DataError:
            continue
        rows.append(
            (label_of(region, control), str(region.get("id") or ""), _score(region), item_of(region), (width, height))
        )
    parts = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    names, regions, scores, items, sizes = (tuple(part) for part in parts)
    return Boxes(np.array(corners, dtype=np.float64).reshape(-1, 4, 2), names, regions, scores, items, sizes)


def read_spans(result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> Spans:
    """The spans under a control, one for each class of a region; those without whole numbers as offsets are left out."""
    rows = []
    for region in under(result, control):
        raw = region.get("value")
        value: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
        place = ""
        offsets = value.get("globalOffsets")
        if isinstance(offsets, Mapping):
            start, end = offsets.get("start"), offsets.get("end")
        else:
            start, end = value.get("startOffset", value.get("start")), value.get("endOffset", value.get("end"))
            if "startOffset" in value:
                place = f"{value.get('start')}\n{value.get('end')}"
        if type(start) is not int or type(end) is not int:
            continue
        for label in labels_in(region, control):
            rows.append((start, end, str(label), str(region.get("id") or ""), _score(region), place))
    text = data.get(control.data_key) if control.object_tag == "Text" else None
    parts = zip(*sorted(rows), strict=True) if rows else ((), (), (), (), (), ())
    starts, ends, names, regions, scores, places = (tuple(part) for part in parts)
    return Spans(starts, ends, names, regions, scores, places, text if isinstance(text, str) else None)


def _score(region: Region) -> float:
    score = region.get("score")
    return float(score) if isinstance(score, int | float) and 0 <= score <= 1 else 1.0
