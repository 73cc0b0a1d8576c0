"""Regions of one label or prediction with their ids and scores, as the detectors take them: places are percents of the image."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelloop.label_config import ANSWER_TAGS, Control
from labelloop.masks import Mask
from labelloop.values import Region
from qa.kinds.kind import Kind, under
from qa.kinds.likeness import LIKENESS
from qa.kinds.regions import PERCENT, classes_beside, item_of, label_of, size_of
from qa.measures.ratings import Floats


@dataclass(frozen=True, eq=False)
class Placed:
    """The regions of one author and task under one control, one entry each.

    `shapes` are as `qa.kinds.likeness` takes them, those of boxes, polygons and points in percents of their image, whose `size`
    in pixels is PERCENT where it is not known; IoU is the same in either. `scores` are 1 for people; `items` tell images of
    one task, and nodes of a hypertext, apart. Of masks all strokes of one class are one region, named where it is a single one.
    """

    kind: str
    shapes: tuple[Any, ...] = ()
    labels: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    items: tuple[Hashable, ...] = ()
    size: tuple[float, float] = PERCENT
    text: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Sequence[int], scores: Sequence[float]) -> Placed:
        """Some of the regions, with other scores, as nobody's."""
        return Placed(
            self.kind, tuple(self.shapes[at] for at in places), tuple(self.labels[at] for at in places),
            ("",) * len(places), tuple(scores), tuple(self.items[at] for at in places), self.size, self.text,
        )  # fmt: skip

    def where(self, at: int) -> dict[str, list[float]]:
        """Where a region lies: its "span" [start, end], its "point" [x, y], or the "box" about it [x, y, width, height]."""
        shape = self.shapes[at]
        if self.kind == "spans":
            return {"span": [shape[1], shape[2]]}
        if self.kind == "points":
            return {"point": _rounded(shape)}
        low, high = bounds(shape)
        return {"box": _rounded([*low, *(high - low)])}


def bounds(shape: Any) -> tuple[Floats, Floats]:
    """((left, top), (right, bottom)) in percent of a box, a polygon or a mask."""
    if isinstance(shape, Mask):
        scale = np.array([100 / shape.width, 100 / shape.height])
        x, y, width, height = shape.box
        return np.array([x, y]) * scale, np.array([x + width, y + height]) * scale
    return shape.min(axis=0), shape.max(axis=0)


def alike(first: Placed, second: Placed) -> Floats:
    """How alike every two regions are, (n, m) in [0, 1]; 0 between different items."""
    size = second.size if first.size == PERCENT else first.size
    scale = np.array(size) / 100 if first.kind == "points" else None
    a, b = (each.shapes if scale is None else [shape * scale for shape in each.shapes] for each in (first, second))
    found = LIKENESS[first.kind].alike(a, b, size)
    return np.where(same(first.items, second.items), found, 0.0)


def same(first: Sequence[Hashable], second: Sequence[Hashable]) -> Any:
    """Whether every two entries are equal, (n, m)."""
    codes: dict[Hashable, int] = {}
    a, b = (np.array([codes.setdefault(each, len(codes)) for each in side], dtype=np.int64) for side in (first, second))
    return a[:, None] == b[None, :]


def placed_in(result: Sequence[Region], control: Control, kind: Kind, data: Mapping[str, Any]) -> Placed:
    """The regions of a label under a control; those that can't be read are left out."""
    found = list(_masks(result, control, kind) if kind.name == "masks" else _each(result, control, kind, data))
    known = [size_of(region) for region in under(result, control) if size_of(region) != PERCENT]
    text = data.get(control.data_key) if control.object_tag == "Text" else None
    shapes, labels, regions, scores, items = zip(*found, strict=True) if found else ((), (), (), (), ())
    return Placed(
        kind.name, shapes, labels, regions, scores, items, known[0] if known else PERCENT,
        text if isinstance(text, str) else None,
    )  # fmt: skip


_Row = tuple[Any, str, str, float, Hashable]


def _each(result: Sequence[Region], control: Control, kind: Kind, data: Mapping[str, Any]) -> Iterator[_Row]:
    """One region after the other, so that each keeps its id and score; a span of several classes is several."""
    beside = [region for region in result if region.get("type") == "labels"] if control.tag in ANSWER_TAGS else []
    for region in under(result, control):
        reading = kind.read([region, *beside], control, data)
        if reading is None:
            continue
        name, score = str(region.get("id") or ""), _score(region)
        for at, shape in enumerate(LIKENESS[kind.name].shapes(reading)):
            if kind.name == "spans":
                yield shape, reading.labels[at], name, score, shape[0]
            else:
                yield shape * (100 / np.array(size_of(region))), reading.labels[at], name, score, reading.items[at]


def _masks(result: Sequence[Region], control: Control, kind: Kind) -> Iterator[_Row]:
    """One mask for each class and image, as sure as the surest of its strokes."""
    reading = kind.read(result, control, {})
    if reading is None:
        return
    scores: dict[tuple[int, str], float] = {}
    beside = classes_beside(result, control)
    for region in under(result, control):
        key = item_of(region), label_of(region, control, beside)
        scores[key] = max(scores.get(key, 0.0), _score(region))
    for mask, label, item, strokes in zip(reading.masks, reading.labels, reading.items, reading.strokes, strict=True):
        yield mask, label, strokes[0] if len(strokes) == 1 else "", scores[item, label], item


def _score(region: Region) -> float:
    score = region.get("score")
    return float(score) if isinstance(score, int | float) and 0 <= score <= 1 else 1.0


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 2) for value in values]
