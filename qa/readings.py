"""What one label says under one control: a set of choices, labelled boxes, or labelled spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelloop.errors import DataError
from labelloop.geometry import rectangle_corners
from labelloop.label_config import Control
from labelloop.values import Region
from qa.measures.boxes import Floats
from qa.measures.spans import Span

#: control tag -> the kind of reading
MEASURED_TAGS = {"Choices": "choices", "RectangleLabels": "boxes", "Labels": "spans"}


@dataclass(frozen=True, eq=False)
class Reading:
    """One person's label of one task under one control; only the fields of its kind are filled.

    `corners` are pixels, (n, 4, 2), with one entry of `labels` each; `text` is the task's text where it is known.
    """

    annotation_id: int
    annotator: int
    shown: str | None
    choice: str = ""
    corners: Floats = field(default_factory=lambda: np.zeros((0, 4, 2)))
    labels: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    text: str | None = None

    @property
    def empty(self) -> bool:
        return not self.choice and not len(self.corners) and not self.spans


def choice_of(result: Iterable[Region], control: Control) -> str:
    """The chosen classes, sorted and joined by " | ", so that the order of clicking does not matter; "" for none."""
    return " | ".join(sorted({label for region in _under(result, control) for label in _labels(region, control)}))


def boxes_of(result: Iterable[Region], control: Control) -> tuple[Floats, tuple[str, ...]]:
    """Corners, (n, 4, 2), in pixels (percents where the size is unknown), and labels; unreadable ones are left out."""
    corners, labels = [], []
    for region in _under(result, control):
        width, height = region.get("original_width") or 100, region.get("original_height") or 100
        try:
            corners.append(rectangle_corners(region.get("value") or {}, width, height))
        except DataError:
            continue
        labels.append(_joined(_labels(region, control)))
    return np.array(corners, dtype=np.float64).reshape(-1, 4, 2), tuple(labels)


def spans_of(result: Iterable[Region], control: Control) -> tuple[Span, ...]:
    """Spans with their offsets as they are, in order; one with two labels is two spans."""
    spans = []
    for region in _under(result, control):
        value = region.get("value") or {}
        start, end = value.get("start"), value.get("end")
        if isinstance(start, int) and isinstance(end, int):
            spans += [(start, end, label) for label in _labels(region, control)]
    return tuple(sorted(spans))


def _under(result: Iterable[Region], control: Control) -> list[Region]:
    return [r for r in result if r.get("from_name") == control.name and r.get("type") == control.region_type]


def _labels(region: Region, control: Control) -> list[str]:
    value: dict[str, Any] = region.get("value") or {}
    return [str(label) for label in value.get(control.value_key) or []]


def _joined(labels: Sequence[str]) -> str:
    return " | ".join(sorted(set(labels)))
