"""Agreement on regions of images that are matched one to one: columns of what labels hold, and the sums of every two labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol, TypeGuard

import numpy as np
import polars as pl

from labelloop.errors import DataError
from labelloop.label_config import ANSWER_TAGS, Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Ratio, Readings, labels_in, nothing_judged, under
from qa.measures.matching import THRESHOLDS, best_matching, times_matched
from qa.measures.ratings import Floats, Ints

#: Width and height where the size of an image is unknown: places are percents then.
PERCENT = (100.0, 100.0)
#: (meeting, place of the first, place of the second, likeness) of what could be matched, piece by piece.
Likely = Iterator[tuple[Ints, Ints, Ints, Floats]]
#: Of matchings by place that are equally good the one with more equal classes counts.
_SAME_CLASS = 1e-7
_NOTHING = "nobody marked anything"


class Marked(Protocol):
    """What the shapes of `qa.kinds.shapes` that are matched have in common."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def items(self) -> tuple[int, ...]: ...
    @property
    def width(self) -> float: ...
    @property
    def height(self) -> float: ...


def ratios_of(likeness: str, what: str, headline: str = "f1_50") -> dict[str, Ratio]:
    """The metrics of regions whose likeness ("iou") is summed; `what` names them in reasons."""
    return {
        headline: Ratio("matched", "n_both", _NOTHING, 2.0),
        "f1_50_95": Ratio("matched_50_95", "n_both", _NOTHING, 2.0),
        f"mean_{likeness}": Ratio(likeness, "matched", f"no {what} match"),
        "f1_50_any_class": Ratio("matched_any", "n_both", _NOTHING, 2.0),
    }


def classes_of(likeness: str, what: str) -> dict[str, Ratio]:
    """The metrics of single classes."""
    return {name: ratio for name, ratio in ratios_of(likeness, what).items() if name != "f1_50_any_class"}


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The regions of a label that could be read, with one entry each, and the size of their image."""

    shapes: list[Any]
    labels: tuple[str, ...]
    regions: tuple[str, ...]
    items: tuple[int, ...]
    width: float
    height: float

    @property
    def told(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...], float, float]:
        """What the values of `qa.kinds.shapes` have besides their shapes, in their order."""
        return self.labels, self.regions, self.items, self.width, self.height


def regions_of(
    result: Sequence[Region], control: Control, shape_of: Callable[[Mapping[str, Any], float, float], Any]
) -> Found:
    """The regions under a control; those that can't be read are left out.

    `shape_of` gets the value of a region and the size of its image in pixels; it raises DataError.
    """
    shapes: list[Any] = []
    told: list[tuple[str, str, int]] = []
    size = PERCENT
    beside = classes_beside(result, control)
    for region in under(result, control):
        value = region.get("value")
        width, height = size_of(region)
        try:
            shape = shape_of(value if isinstance(value, Mapping) else {}, width, height)
        except DataError:
            continue
        size = (width, height) if size == PERCENT else size
        shapes.append(shape)
        told.append((label_of(region, control, beside), str(region.get("id") or ""), item_of(region)))
    labels, regions, items = zip(*told, strict=True) if told else ((), (), ())
    return Found(shapes, labels, regions, items, *size)


def size_of(region: Region) -> tuple[float, float]:
    """Width and height of a region's image in pixels, PERCENT where they are not known."""
    width, height = region.get("original_width"), region.get("original_height")
    return (float(width), float(height)) if _is_length(width) and _is_length(height) else PERCENT


def classes_beside(result: Sequence[Region], control: Control) -> Mapping[str, list[Any]]:
    """Region id -> classes that a <Labels> gave to a shape without any, such as one of a <Brush>: the two have one id."""
    if control.tag not in ANSWER_TAGS:
        return {}
    found: dict[str, list[Any]] = {}
    for region in result:
        value = region.get("value")
        if region.get("type") == "labels" and region.get("to_name") == control.to_name and isinstance(value, Mapping):
            labels = value.get("labels")
            found.setdefault(str(region.get("id") or ""), []).extend(labels if isinstance(labels, list) else [])
    return found


def label_of(region: Region, control: Control, beside: Mapping[str, list[Any]]) -> str:
    """The classes of a region, sorted and joined; `beside` as `classes_beside` finds them."""
    labels = [*labels_in(region, control), *beside.get(str(region.get("id") or ""), ())]
    return " | ".join(sorted({str(label) for label in labels}))


def item_of(region: Region) -> int:
    """The place of a region's image among those of its task."""
    item = region.get("item_index")
    return item if isinstance(item, int) else 0


def _is_length(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


# -- comparing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Columns:
    """The regions of all labels one after the other: those of label n are the places starts[n] to starts[n] + sizes[n].

    `label` are places in `names`; `scale` (labels, 2) turns percents into pixels where one label of a task knows the size of the
    image and another one does not; `size` (labels, 2) is what holds after that.
    """

    starts: Ints
    sizes: Ints
    label: Ints
    names: list[str]
    item: Ints
    scale: Floats
    size: Floats

    @property
    def is_scaled(self) -> bool:
        return bool((self.scale != 1.0).any())

    def of_regions(self, of_labels: Floats) -> Floats:
        """Something of labels, for each of their regions."""
        found: Floats = np.repeat(of_labels, self.sizes, axis=0)
        return found


def columns_of(readings: Readings) -> Columns:
    """The columns of labels whose values are Marked or None."""
    there = np.fromiter((value is not None for value in readings.values), np.bool_, len(readings))
    given: list[Marked] = [value for value in readings.values if value is not None]
    marked = [value.labels for value in given]
    sizes = np.zeros(len(readings), np.int64)
    sizes[there] = np.fromiter(map(len, marked), np.int64, len(given))
    labels = list(chain.from_iterable(marked))
    names = sorted(set(labels))
    codes = {name: code for code, name in enumerate(names)}
    label = np.fromiter(map(codes.__getitem__, labels), np.int64, len(labels))
    item = np.fromiter(chain.from_iterable(map(attrgetter("items"), given)), np.int64, len(labels))
    size = np.full((len(readings), 2), PERCENT)
    for column, side in enumerate(("width", "height")):
        size[there, column] = np.fromiter(map(attrgetter(side), given), np.float64, len(given))
    scale = _scales(readings, size)
    return Columns(np.cumsum(sizes) - sizes, sizes, label, names, item, scale, size * scale)


def _scales(readings: Readings, size: Floats) -> Floats:
    """Of each label what its places are multiplied by."""
    scale = np.ones_like(size)
    unknown = (size == PERCENT).all(axis=1)
    if unknown.any() and not unknown.all():
        task = np.unique(readings.task, return_inverse=True)[1]
        known = np.zeros((int(task.max()) + 1, 2))
        known[task[~unknown]] = size[~unknown]
        found = known[task]
        scale = np.where(unknown[:, None] & (found > 0), found / PERCENT, scale)
    return scale


def compared(readings: Readings, columns: Columns, likely: Callable[[Ints, Ints], Likely], likeness: str) -> Compared:
    """Every two labels of a task; `likely` tells what of two lists of labels could be matched, in order of the meetings."""
    left, right = readings.meetings()
    n_first, n_second = columns.sizes[left], columns.sizes[right]
    n_both = n_first + n_second
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of numbers far too large: they match nothing
        meeting, a, b, like = _joined(likely(left, right))
    # Whoever meets several people has boxes to match with each of them.
    first = (np.cumsum(n_first) - n_first - columns.starts[left])[meeting] + a
    second = (np.cumsum(n_second) - n_second - columns.starts[right])[meeting] + b
    same = columns.label[a] == columns.label[b]
    by_place = best_matching(first, second, like + _SAME_CLASS * same)
    same_at = np.flatnonzero(same)
    first, second, alike = first[same_at], second[same_at], like[same_at]
    matched = best_matching(first, second, alike)
    times = times_matched(first, second, alike) / len(THRESHOLDS)
    owner, label = meeting[same_at], columns.label[a[same_at]]
    sums = {"matched": matched.astype(np.float64), "matched_50_95": times, likeness: np.where(matched, alike, 0.0)}
    count = len(left)
    totals = {name: _sum(owner, each, count) for name, each in sums.items()}
    pairs = pl.DataFrame(
        {
            "left": left,
            "right": right,
            "score": np.divide(2 * totals["matched"], n_both, out=np.zeros(count), where=n_both > 0),
            "n_both": n_both.astype(np.float64),
            **totals,
            "matched_any": np.bincount(meeting[by_place], minlength=count).astype(np.float64),
        }
    )
    judged = _judged(columns, left[meeting[by_place]], right[meeting[by_place]], a[by_place], b[by_place])
    return Compared(pairs.filter(pl.col("n_both") > 0), _by_class(columns, left, right, owner, label, sums), judged)


def _joined(likely: Iterable[tuple[Ints, Ints, Ints, Floats]]) -> tuple[Ints, Ints, Ints, Floats]:
    parts = [*likely]
    if not parts:
        none = np.zeros(0, np.int64)
        return none, none, none, np.zeros(0)
    meeting, a, b, like = (np.concatenate(each) for each in zip(*parts, strict=True))
    return meeting, a, b, like


def _sum(owner: Ints, values: Floats, count: int) -> Floats:
    return np.bincount(owner, weights=values, minlength=count).astype(np.float64)


def _by_class(
    columns: Columns, left: Ints, right: Ints, owner: Ints, label: Ints, sums: Mapping[str, Floats]
) -> pl.DataFrame:
    """One row for every two labels and class that one of them has; what carries no class has no row."""
    met = [_of_meetings(columns, side) for side in (left, right)]
    kinds = len(columns.names)
    key = np.concatenate([meeting * kinds + columns.label[place] for meeting, place in met])
    if len(left) * kinds <= 4 * len(key):
        often = np.bincount(key, minlength=len(left) * kinds)
        keys = np.flatnonzero(often)
        n_both, at = often[keys], np.cumsum(often > 0) - 1
        row = at[owner * kinds + label] if len(owner) else owner
    else:
        keys, n_both = np.unique(key, return_counts=True)
        row = np.searchsorted(keys, owner * kinds + label)
    meeting, code = np.divmod(keys, max(kinds, 1))
    table = pl.DataFrame(
        {
            "left": left[meeting],
            "right": right[meeting],
            "class": _names(columns, code),
            "n_both": n_both.astype(np.float64),
            **{name: _sum(row, values, len(keys)) for name, values in sums.items()},
        }
    )
    return table.filter(pl.col("class") != "")


def _of_meetings(columns: Columns, labels: Ints) -> tuple[Ints, Ints]:
    """(meeting, place) of every region of the labels that meet."""
    sizes = columns.sizes[labels]
    meeting = np.repeat(np.arange(len(labels)), sizes)
    return meeting, np.arange(len(meeting)) + (columns.starts[labels] - (np.cumsum(sizes) - sizes))[meeting]


def _judged(columns: Columns, left: Ints, right: Ints, a: Ints, b: Ints) -> pl.DataFrame:
    """The classes of what was matched by place alone; matches in which neither has a class say nothing of classes."""
    empty = columns.names.index("") if "" in columns.names else -1
    told = (columns.label[a] != empty) | (columns.label[b] != empty)
    left, right, a, b = left[told], right[told], a[told], b[told]
    if not len(a):
        return nothing_judged()
    return pl.DataFrame(
        {
            "unit": np.repeat(np.arange(len(a)), 2),
            "place": np.stack([left, right], axis=1).ravel(),
            "value": _names(columns, columns.label[np.stack([a, b], axis=1).ravel()]),
        }
    )


def _names(columns: Columns, codes: Ints) -> pl.Series:
    return pl.Series("", columns.names, dtype=pl.String).gather(codes)
