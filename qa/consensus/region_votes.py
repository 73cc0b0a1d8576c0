"""Consensus of regions: what several people drew or marked on one task, as regions with their support."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelloop.geometry import rectangle_value
from labelloop.masks import Mask, brush_of_pixels, resized
from qa.consensus.clusters import clusters_of, voted
from qa.consensus.fusing import fused_mask, fused_outline, fused_point, fused_rectangle, fused_span
from qa.kinds.likeness import LIKENESS
from qa.kinds.shapes import Brushed
from qa.measures.ratings import Floats


@dataclass(frozen=True)
class Drawn:
    """What one person gave on a task: a reading (None: nothing), their weight, and the ids of regions that they only accepted."""

    person: int
    reading: Any | None
    weight: float = 1.0
    accepted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Fused:
    """One region of the consensus. `value` is Label Studio's, without its classes; `support` counts people, `anchored` those of
    them who merely accepted a suggestion. `probability` is the share of all people's weight behind the region and its class.
    """

    value: dict[str, Any]
    label: str
    item: int
    probability: float
    support: int
    anchored: int
    people: tuple[int, ...]


def quorum_of(people: int) -> int:
    """How many of those who labelled a task must have a region: half of them, rounded up."""
    return -(-people // 2)


def region_consensus(kind: str, drawn: Sequence[Drawn], quorum: int | None = None) -> tuple[list[Fused], list[Fused]]:
    """(the regions that a quorum of people has, those that fewer have), each in order of its probability.

    `kind` is the name of a kind of regions: boxes, polygons, masks, points or spans.
    """
    least = quorum_of(len(drawn)) if quorum is None else quorum
    whole = sum(each.weight for each in drawn)
    found = (_masks if kind == "masks" else _clustered)(kind, drawn, whole)
    found.sort(key=lambda each: (-each.probability, -each.support, each.label, str(each.value)))
    return [each for each in found if each.support >= least], [each for each in found if each.support < least]


#: From this likeness on two regions may be one thing, where that is not half: people agree less on where a passage ends than on
#: where a thing in an image does.
_TOGETHER = {"spans": 0.3}


# -- one region of each person ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _One:
    person: int
    weight: float
    label: str
    item: int
    accepted: bool
    shape: Any


def _clustered(kind: str, drawn: Sequence[Drawn], whole: float) -> list[Fused]:
    likeness, fuse = LIKENESS[kind], _FUSED[kind]
    ones: list[_One] = []
    sizes = (100.0, 100.0)
    for each in drawn:
        reading = each.reading
        if reading is None:
            continue
        sizes = (getattr(reading, "width", 100.0), getattr(reading, "height", 100.0))
        items = getattr(reading, "items", None) or (0,) * len(reading.labels)
        for shape, label, region, item in zip(
            likeness.shapes(reading), reading.labels, reading.regions, items, strict=True
        ):
            ones.append(_One(each.person, each.weight, label, item, region in each.accepted, shape))
    if not ones:
        return []
    shapes = [one.shape for one in ones]
    alike = likeness.alike(shapes, shapes, sizes)
    item = np.array([one.item for one in ones])
    alike = np.where(item[:, None] == item[None, :], alike, 0.0)
    found = []
    for places in clusters_of(alike, [one.person for one in ones], _TOGETHER.get(kind, 0.5)):
        members = [ones[place] for place in places]
        label, share = voted([one.label for one in members], [one.weight for one in members])
        # Those of another class have the place, and not the answer.
        behind = [one for one in members if one.label == label]
        weights = np.array([one.weight for one in members])
        found.append(
            Fused(
                fuse([one.shape for one in members], weights if weights.sum() else np.ones(len(weights)), sizes),
                label,
                members[0].item,
                share * float(weights.sum()) / whole if whole else 0.0,
                len(behind),
                sum(one.accepted for one in behind),
                tuple(sorted(one.person for one in behind)),
            )
        )
    return found


def _fuse_boxes(shapes: Sequence[Floats], weights: Floats, sizes: tuple[float, float]) -> dict[str, Any]:
    return rectangle_value(fused_rectangle(np.array(shapes), weights).tolist(), *sizes)


def _fuse_outlines(shapes: Sequence[Floats], weights: Floats, sizes: tuple[float, float]) -> dict[str, Any]:
    points = fused_outline(shapes, weights.tolist(), *sizes) * 100 / np.array(sizes)
    return {"points": points.tolist(), "closed": True}


def _fuse_points(shapes: Sequence[Floats], weights: Floats, sizes: tuple[float, float]) -> dict[str, Any]:
    x, y = (fused_point(np.array(shapes), weights) * 100 / np.array(sizes)).tolist()
    return {"x": x, "y": y}


def _fuse_spans(
    shapes: Sequence[tuple[str, float, float]], weights: Floats, sizes: tuple[float, float]
) -> dict[str, Any]:
    start, end = fused_span([each[1] for each in shapes], [each[2] for each in shapes])
    return {"start": start, "end": end, **({"place": shapes[0][0]} if shapes[0][0] else {})}


#: kind -> one value of several shapes, by their weights and the size of the image
_FUSED: Mapping[str, Callable[..., dict[str, Any]]] = {
    "boxes": _fuse_boxes,
    "polygons": _fuse_outlines,
    "points": _fuse_points,
    "spans": _fuse_spans,
}


# -- masks: pixels vote -----------------------------------------------------------------------------------------------


def _masks(kind: str, drawn: Sequence[Drawn], whole: float) -> list[Fused]:
    """One mask for each class and image: the pixels that at least half of those who labelled the task cover."""
    by_class: dict[tuple[int, str], list[tuple[Drawn, Mask, bool]]] = {}
    for each in drawn:
        reading: Brushed | None = each.reading
        if reading is not None:
            for mask, label, item, strokes in zip(
                reading.masks, reading.labels, reading.items, reading.strokes, strict=True
            ):
                by_class.setdefault((item, label), []).append((each, mask, each.accepted.issuperset(strokes)))
    found = []
    for (item, label), given in by_class.items():
        width, height = given[0][1].width, given[0][1].height
        covered = fused_mask([resized(mask, width, height) for _, mask, _ in given], len(drawn))
        value = {"format": "rle", "rle": brush_of_pixels(covered.pixels()) if covered is not None else []}
        weight = sum(who.weight for who, _, _ in given)
        behind = given if covered is not None else []
        found.append(
            Fused(
                value,
                label,
                item,
                weight / whole if whole else 0.0,
                len(behind),
                sum(accepted for _, _, accepted in behind),
                tuple(sorted(who.person for who, _, _ in behind)),
            )
        )
    return found
