"""Brush masks on images, one per class: how many of their pixels two people share (Dice, IoU)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from labelloop.errors import DataError
from labelloop.label_config import Control
from labelloop.masks import Mask, joined, mask_of_brush, resized
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings, nothing_judged
from qa.kinds.regions import regions_of
from qa.kinds.shapes import Brushed
from qa.measures.mask_overlap import dice_and_iou
from qa.measures.matching import MATCHED, THRESHOLDS

_NOTHING = "nobody marked anything"
_RATIOS = {
    "dice": Ratio("dice", "masks", _NOTHING),
    "mean_iou": Ratio("iou", "masks", _NOTHING),
    "f1_50": Ratio("matched", "n_both", _NOTHING, 2.0),
    "f1_50_95": Ratio("matched_50_95", "n_both", _NOTHING, 2.0),
}
_SUMS = dict.fromkeys(("dice", "iou", "masks", "n_both", "matched", "matched_50_95"), pl.Float64)
_PLACES = {"left": pl.Int64, "right": pl.Int64}


class _Masks:
    """A class that only one of two people marked counts as a Dice and an IoU of 0; one that neither marked, not at all."""

    name = "masks"
    headline = "dice"
    ratios: Mapping[str, Ratio] = _RATIOS
    class_ratios: Mapping[str, Ratio] = _RATIOS
    level: Level | None = None
    judged_prefix = ""

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> Brushed | None:
        """The masks by item and class; strokes without a pixel are nothing."""
        found = regions_of(result, control, _stroke)
        strokes: defaultdict[tuple[int, str], list[tuple[Mask, str]]] = defaultdict(list)
        for mask, label, item, region in zip(found.shapes, found.labels, found.items, found.regions, strict=True):
            if mask.area:
                strokes[item, label].append((mask, region))
        if not strokes:
            return None
        keys = sorted(strokes)
        return Brushed(
            tuple(_joined([mask for mask, _ in strokes[key]]) for key in keys),
            tuple(label for _, label in keys),
            tuple(item for item, _ in keys),
            tuple(tuple(region for _, region in strokes[key]) for key in keys),
        )

    def compare(self, readings: Readings) -> Compared:
        left, right = readings.meetings()
        masks = [_by_key(value) for value in readings.values]
        pairs: list[tuple[Any, ...]] = []
        classes: list[tuple[Any, ...]] = []
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            of_classes: defaultdict[str, list[tuple[float, ...]]] = defaultdict(list)
            for key in sorted(masks[i].keys() | masks[j].keys()):
                of_classes[key[1]].append(_sums(masks[i].get(key), masks[j].get(key)))
            every = [sums for found in of_classes.values() for sums in found]
            if not every:
                continue
            total = _total(every)
            pairs.append((i, j, total[0] / len(every), *total))
            classes += [(i, j, label, *_total(found)) for label, found in of_classes.items() if label]
        return Compared(
            pl.DataFrame(pairs, schema={**_PLACES, "score": pl.Float64, **_SUMS}, orient="row"),
            pl.DataFrame(classes, schema={**_PLACES, "class": pl.String, **_SUMS}, orient="row"),
            nothing_judged(),
        )


def _stroke(value: Mapping[str, Any], width: float, height: float) -> Mask:
    code = value.get("rle")
    if not isinstance(code, list):
        raise DataError("expected a run-length code in a brush")
    return mask_of_brush(code, int(width), int(height))


def _joined(strokes: list[Mask]) -> Mask:
    first = strokes[0]
    return joined([resized(mask, first.width, first.height) for mask in strokes])


def _by_key(value: Brushed | None) -> dict[tuple[int, str], Mask]:
    return {} if value is None else dict(zip(zip(value.items, value.labels, strict=True), value.masks, strict=True))


def _sums(first: Mask | None, second: Mask | None) -> tuple[float, ...]:
    """The sums of one class on one image."""
    if first is None or second is None:
        return 0.0, 0.0, 1.0, 1.0, 0.0, 0.0
    dice, iou = dice_and_iou(first, second)
    return dice, iou, 1.0, 2.0, float(iou >= MATCHED), float((iou >= THRESHOLDS).mean())


def _total(sums: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(map(sum, zip(*sums, strict=True)))


MASKS = _Masks()
