"""The row of a label, as CSV, JSONL and Parquet have it: a region in cells, and the region back from them.

A region with several classes is several rows. What of a region has no column goes, in the region's own shape, into
`rest`: a row is the whole region, but for a suggestion's `score`, which is `confidence` where it counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelloop.datasets import Schema
from labelloop.errors import DataError
from labelloop.values import Region
from sync.formats.examples import Example
from sync.formats.format import Part, Plan
from sync.formats.offsets import Place, locate_spans

#: What a value says: percent of the image (turned clockwise, in degrees), `start` and `end` in code points, `points` as
#: [[x, y], ...].
GEOMETRY: Schema = (
    ("x", "float64"), ("y", "float64"), ("w", "float64"), ("h", "float64"), ("rot", "float64"),
    ("radius_x", "float64"), ("radius_y", "float64"), ("points", "json"), ("start", "int64"), ("end", "int64"),
    ("text", "string"),
)  # fmt: skip
#: What stands beside it: the image's size in pixels, which image of a list, the region that this one belongs to, and all
#: that has no column.
BESIDE: Schema = (
    ("width", "int64"), ("height", "int64"), ("item", "int64"), ("parent", "string"), ("rest", "json"),
)  # fmt: skip

_KEYS = ("x", "y", "width", "height", "rotation", "radiusX", "radiusY", "points", "start", "end", "text")
_PLACES = {key: place for place, key in enumerate(_KEYS)}
_POINTS, _START, _END, _TEXT = 7, 8, 9, 10
_EMPTY: tuple[Any, ...] = (None,) * len(_KEYS)
_NO_PLACE = _EMPTY[:_START]
_HUGE, _MAX_WHOLE = 1e300, 2**53
#: Places without which a region is none.
_NEEDED = {
    **dict.fromkeys(("rectanglelabels", "rectangle"), (0, 1, 2, 3)),
    **dict.fromkeys(("ellipselabels", "ellipse"), (0, 1, 5, 6)),
    **dict.fromkeys(("keypointlabels", "keypoint"), (0, 1)),
    **dict.fromkeys(("polygonlabels", "polygon"), (_POINTS,)),
}
_OWN = frozenset((
    "id", "from_name", "to_name", "type", "value", "origin", "score", "original_width", "original_height",
    "image_rotation", "item_index", "parentID",
))  # fmt: skip


#: What regions of texts have, and then nothing stands beside their value.
_OF_TEXT = frozenset(("id", "from_name", "to_name", "type", "value", "origin", "score"))
#: How many keys a span has without a score, and its value with start and end.
_IN_SPAN, _IN_VALUE = len(_OF_TEXT) - 1, 4
_NOTHING_BESIDE: tuple[Any, ...] = (None,) * len(BESIDE)


@dataclass(frozen=True)
class ControlFacts:
    """What the rows of a control need: what it labels, the ids of its classes, the key of the text that it marks."""

    to_name: str
    class_ids: Mapping[str, int]
    text_key: str | None


Cells = tuple[str | None, str | None, str, Sequence[str], Sequence[Any], Sequence[Any], str | None]
"""A region in cells: (region id, control, kind, classes, those of GEOMETRY, those of BESIDE, origin); JSON is still what it
says. A plain tuple, of which millions are made."""


def control_facts(plan: Plan) -> dict[str, ControlFacts]:
    """The controls of a plan by name."""
    return {
        control.name: ControlFacts(
            control.to_name,
            {name: number for number, name in enumerate(plan.class_names(control))},
            control.data_key if _marks_text(control.tag, control.object_tag, control.object_attributes) else None,
        )
        for control in plan.config.controls
    }


def _marks_text(tag: str, object_tag: str, attributes: Mapping[str, str]) -> bool:
    """Whether offsets are in the task's own text; one that is fetched from an address is not at hand."""
    return tag == "Labels" and object_tag == "Text" and attributes.get("valueType") != "url"


def regions_in_cells(
    example: Example, controls: Mapping[str, ControlFacts], part: Part
) -> list[tuple[Region, ControlFacts | None, Cells]]:
    """The regions of a task in cells; one that is broken is skipped with a reason."""
    places = _located(example, controls, part)
    found = []
    for index, region in enumerate(example.result):
        name = region.get("from_name")
        facts = controls.get(name) if type(name) is str else None
        try:
            found.append((region, facts, cells_of(region, facts, places.get(index) if places else None)))
        except DataError as error:
            part.skip(example.task_id, f"region {region.get('id')}: {error}")
    return found


def _located(example: Example, controls: Mapping[str, ControlFacts], part: Part) -> dict[int, Place]:
    """Where the spans of texts lie, by their place in the result."""
    spans: dict[str, list[int]] = {}
    result = example.result
    for index, region in enumerate(result):
        if region.get("type") == "labels" and type(region.get("value")) is dict:
            name = region.get("from_name")
            facts = controls.get(name) if type(name) is str else None
            if facts is not None and facts.text_key is not None:
                spans.setdefault(facts.text_key, []).append(index)
    found: dict[int, Place] = {}
    for key, indices in spans.items():
        text = example.data.get(key)
        if isinstance(text, str):
            notes: Counter[str] = part.notes.setdefault("offsets", Counter())
            values = [result[index]["value"] for index in indices]
            found.update(zip(indices, locate_spans(text, values, notes), strict=True))
        else:
            found.update(dict.fromkeys(indices, f"text_missing: no text under {key!r}"))
    return found


def cells_of(region: Region, facts: ControlFacts | None, place: Place | None = None) -> Cells:
    """A region in cells; `place` is where it lies, where it marks a text. DataError says why it is no region."""
    if type(place) is tuple and len(region) == _IN_SPAN and (cells := _plain_span(region, facts, place)) is not None:
        return cells
    get = region.get
    kind, value, region_id, control, origin = get("type"), get("value"), get("id"), get("from_name"), get("origin")
    if not isinstance(kind, str) or not kind:
        raise DataError("it has no type")
    if value is not None and not isinstance(value, dict):
        raise DataError("its value is no object")
    labels, shape, more = _value_in_cells(kind, value or {}, place)
    beside = _beside(region, facts, more)
    if not (type(region_id) is str and type(control) is str and type(origin) is str):
        region_id, control, origin = _text(region_id), _text(control), _text(origin)
    return region_id, control, kind, labels, shape, beside, origin


def _plain_span(region: Region, facts: ControlFacts | None, place: tuple[int, int]) -> Cells | None:
    """A span of a text with nothing beside it, as nearly every region of a text is; the long way leads to the same."""
    try:
        kind, value, origin = region["type"], region["value"], region["origin"]
        region_id, control, to_name = region["id"], region["from_name"], region["to_name"]
        labels, text = value["labels"], value["text"]
    except KeyError:
        return None
    if (
        kind == "labels" and len(value) == _IN_VALUE and facts is not None and to_name == facts.to_name
        and type(labels) is list and len(labels) == 1
        and type(labels[0]) is type(text) is type(region_id) is type(control) is type(origin) is str
    ):  # fmt: skip
        return region_id, control, kind, labels, (*_NO_PLACE, *place, text), _NOTHING_BESIDE, origin
    return None


def offsets_of(cells: Cells) -> tuple[int | None, int | None]:
    """Start and end in code points."""
    shape = cells[4]
    return shape[_START], shape[_END]


def _value_in_cells(
    kind: str, value: Mapping[str, Any], place: Place | None
) -> tuple[Sequence[str], list[Any], dict[str, Any]]:
    labels: Sequence[str] = ()
    shape = list(_EMPTY)
    more: dict[str, Any] = {}
    for key, said in value.items():
        at = _PLACES.get(key)
        if at is None:
            if key == kind:
                labels = _classes(said, more, kind)
            else:
                more[key] = said
        elif at < _POINTS:
            type_ = type(said)
            if (type_ is float or type_ is int) and -_HUGE < said < _HUGE:
                shape[at] = said if type_ is float else float(said)
            else:
                more[key] = said
        elif place is None or at in (_TEXT, _POINTS):
            _put(at, key, said, shape, more)
    if place is not None:
        if isinstance(place, str):
            raise DataError(place)
        shape[_START], shape[_END] = place
    elif isinstance(spots := more.get("globalOffsets"), dict):
        # HTML: its start and end are paths in the document, and these the places in its text.
        for at, end in ((_START, "start"), (_END, "end")):
            shape[at] = spots[end] if _is_whole(spots.get(end)) else None
            more |= {end: value[end]} if end in value else {}
    for at in _NEEDED.get(kind, ()):
        if shape[at] is None:
            key = _KEYS[at]
            raise DataError(f"{key} is {repr(more[key])[:40]}" if key in more else f"it has no {key}")
    if kind in ("brush", "brushlabels") and not (isinstance(more.get("rle"), list) and more["rle"]):
        raise DataError("it has no rle")
    return labels, shape, more


def _classes(said: Any, more: dict[str, Any], kind: str) -> Sequence[str]:
    """The classes of a value; a rating, a number or a date is one too, and stays as it is in the rest."""
    if not isinstance(said, list) or not said:
        more[kind] = said
        return (str(said),) if isinstance(said, str | int | float) else ()
    if len(said) == 1 and type(said[0]) is str:
        return said
    for each in said:
        steps = each if isinstance(each, list) else [each]
        if not steps or not all(isinstance(step, str) for step in steps):
            raise DataError(f"{str(each)[:40]!r} is no class")
        if isinstance(each, list):
            more[kind] = said
    return [" / ".join(each) if isinstance(each, list) else each for each in said]


def _put(at: int, key: str, said: Any, shape: list[Any], more: dict[str, Any]) -> None:
    """Offsets, text and points where they are what their columns hold; the rest takes everything else."""
    if at == _TEXT and isinstance(said, str):
        shape[at] = said
    elif at == _POINTS and (points := _outline(said)):
        shape[at] = points
    elif at in (_START, _END) and _is_whole(said):
        shape[at] = said
    else:
        more[key] = said
        if at == _TEXT and isinstance(said, list) and said and all(isinstance(line, str) for line in said):
            shape[at] = "\n".join(said)  # of a text area, to be seen


def _outline(said: Any) -> list[list[float]] | None:
    try:
        points = [[x * 1.0, y * 1.0] for x, y in said]
        return points if points and all(math.isfinite(x + y) for x, y in points) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _beside(region: Region, facts: ControlFacts | None, more: dict[str, Any]) -> Sequence[Any]:
    if not more and facts is not None and region.get("to_name") == facts.to_name and region.keys() <= _OF_TEXT:
        return _NOTHING_BESIDE
    rest: dict[str, Any] = {"value": more} if more else {}
    if region.get("value") is None:
        rest["value"] = None
    width, height, item, parent = (
        region.get("original_width"), region.get("original_height"), region.get("item_index"), region.get("parentID"),
    )  # fmt: skip
    if (width is not None and not _is_whole(width)) or (height is not None and not _is_whole(height)):
        rest |= {"original_width": width, "original_height": height}
        width = height = None
    if item is not None and not _is_whole(item):
        rest["item_index"], item = item, None
    if parent is not None and not isinstance(parent, str):
        rest["parentID"], parent = parent, None
    turn, to_name = region.get("image_rotation"), region.get("to_name")
    if turn != _turn(width):
        rest["image_rotation"] = turn
    if to_name != (facts.to_name if facts is not None else None):
        rest["to_name"] = to_name
    if not _OWN.issuperset(region):
        rest |= {key: said for key, said in region.items() if key not in _OWN}
    return width, height, item, parent, rest or None


def _text(said: Any) -> str | None:
    return said if said is None or isinstance(said, str) else str(said)


def _turn(width: Any) -> int | None:
    """The `image_rotation` that goes without saying: regions of images have it, and it is 0."""
    return 0 if width is not None else None


def _is_whole(number: Any) -> bool:
    return type(number) is int and 0 <= number < _MAX_WHOLE


# -- and back -----------------------------------------------------------------------------------------------------------


def region_of(row: Mapping[str, Any], labels: Sequence[str], to_name: str | None) -> Region:
    """The region of a row's cells (numbers as numbers, JSON as what it says); `to_name` goes without saying."""
    kind, rest = row["kind"], row.get("rest") or {}
    more = rest.get("value", {})
    value = {key: row[name] for key, (name, _) in zip(_KEYS, GEOMETRY, strict=True) if row.get(name) is not None}
    if isinstance(more, dict):
        if isinstance(more.get("globalOffsets"), dict):
            value.pop("start", None)
            value.pop("end", None)
        value |= {kind: list(labels)} | more if labels else more
    said = {
        "id": row.get("region_id"),
        "from_name": row.get("control"),
        "to_name": to_name,
        "type": kind,
        "value": value if more is not None else None,
        "origin": row.get("origin"),
        "original_width": row.get("width"),
        "original_height": row.get("height"),
        "image_rotation": _turn(row.get("width")),
        "item_index": row.get("item"),
        "parentID": row.get("parent"),
        **{key: each for key, each in rest.items() if key != "value"},
    }
    return {key: each for key, each in said.items() if each is not None}
