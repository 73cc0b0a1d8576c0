"""Whether a region's value is one that Label Studio shows: required keys, finite numbers, percent ranges, known classes.

Everything that label_studio_sdk's validator refuses is refused, and beyond it what no annotator could have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelloop.label_config import Control

Value = Mapping[str, Any]

#: What a conversion between pixels and percent may be off by.
_SLACK = 1e-6
_SIZES = ("original_width", "original_height")


class _Misfit(Exception):
    """What is wrong with a region, in words without its text."""


def problem_with_region(control: Control, region: Mapping[str, Any]) -> str | None:
    """Why a region does not fit the control that it names, or None."""
    value = region.get("value")
    try:
        if not isinstance(value, Mapping):
            raise _Misfit("value is no object")
        _check_frame(control, region)
        _check_classes(control, value)
        _SHAPES.get(control.region_type, _no_shape)(control, region, value)
    except _Misfit as misfit:
        return str(misfit)
    return None


# -- what every region has ----------------------------------------------------------------------------------------------


def _check_frame(control: Control, region: Mapping[str, Any]) -> None:
    if region.get("score") is not None:
        _number(region, "score", 0.0, 1.0, "")
    for key in _SIZES:
        if region.get(key) is not None:
            _require(_is_whole(region[key]) and region[key] > 0, f"{key} is no positive whole number")
    if region.get("item_index") is not None:
        _require(control.listed, f"item_index is for a list of images, and {control.to_name!r} shows one")
        _require(_is_whole(region["item_index"]) and region["item_index"] >= 0, "item_index is no whole number from 0")
    if region.get("id") is not None:
        _require(isinstance(region["id"], str) and bool(region["id"]), "id is no text")


def _check_classes(control: Control, value: Value) -> None:
    key, labels = control.value_key, value.get(control.value_key)
    _require(isinstance(labels, list) and bool(labels), f"value.{key} is empty")
    assert isinstance(labels, list)  # noqa: S101  (told to the type checker)
    entries = labels
    if control.region_type == "taxonomy":
        _require(all(isinstance(path, list) and path for path in labels), f"value.{key} is no list of paths")
        entries = [name for path in labels for name in path]
    _require(all(isinstance(name, str) for name in entries), f"value.{key} is no list of texts")
    if not _is_dynamic(control):
        unknown = next((name for name in entries if name not in control.classes), None)
        _require(unknown is None, f"class {unknown!r} is not in the config")
    _require(len({str(entry) for entry in labels}) == len(labels), f"value.{key} names something twice")


def _is_dynamic(control: Control) -> bool:
    """Whether the task or a server says what the classes are, so that the config does not know them all."""
    return control.attributes.get("value", "").startswith("$") or "apiUrl" in control.attributes


# -- images -------------------------------------------------------------------------------------------------------------


def _check_rectangle(_control: Control, _region: Value, value: Value) -> None:
    x, y = _position(value), _position(value, "y")
    width, height = _extent(value, "width"), _extent(value, "height")
    if not _turned(value):  # a turned one's corners may lie outside
        _require(x >= -_SLACK and y >= -_SLACK, "value.x or value.y is below 0")
        _require(x + width <= 100 + _SLACK and y + height <= 100 + _SLACK, "the rectangle leaves the image")


def _check_ellipse(_control: Control, _region: Value, value: Value) -> None:
    for key in ("x", "y"):
        _number(value, key, 0.0, 100.0)
    for key in ("radiusX", "radiusY"):
        _require(_number(value, key, 0.0, 50.0) > 0, f"value.{key} is not above 0")
    _turned(value)


def _check_point(_control: Control, _region: Value, value: Value) -> None:
    for key in ("x", "y"):
        _number(value, key, 0.0, 100.0)
    if value.get("width") is not None:
        _number(value, "width", 0.0, 100.0)


def _check_polygon(_control: Control, _region: Value, value: Value) -> None:
    points = value.get("points")
    _require(_is_list(points) and len(points or ()) >= 3, "value.points is no list of three or more points")
    for point in points or ():
        fits = _is_list(point) and len(point) == 2 and all(_is_number(c) and 0 <= c <= 100 for c in point)
        _require(fits, "value.points has something that is no pair of percents")


def _check_brush(_control: Control, region: Value, value: Value) -> None:
    _require(value.get("format") == "rle", "value.format is not 'rle'")
    rle = value.get("rle")
    _require(_is_list(rle) and bool(rle), "value.rle is empty")
    _require(all(_is_whole(byte) and 0 <= byte <= 255 for byte in rle or ()), "value.rle has something that is no byte")
    for key in _SIZES:
        _require(region.get(key) is not None, f"{key} is missing, and a mask cannot be read without it")


def _position(value: Value, key: str = "x") -> float:
    return _number(value, key, -math.inf, 100.0)


def _extent(value: Value, key: str) -> float:
    number = _number(value, key, 0.0, 100.0)
    _require(number > 0, f"value.{key} is not above 0")
    return number


def _turned(value: Value) -> bool:
    return value.get("rotation") is not None and _number(value, "rotation", -360.0, 360.0) != 0


# -- texts --------------------------------------------------------------------------------------------------------------


def _check_span(control: Control, _region: Value, value: Value) -> None:
    """A span of a text has whole code points, one of a sound or a video seconds or frames."""
    if control.object_tag == "Text":
        _require(_is_whole(value.get("start")) and _is_whole(value.get("end")), "value.start or end is no whole number")
    start, end = (_number(value, key, 0.0, math.inf) for key in ("start", "end"))
    _require(start <= end, "value.start is behind value.end")
    _check_text(value)


def _check_hypertext(_control: Control, _region: Value, value: Value) -> None:
    """Start and end are paths to nodes (or whole numbers), the offsets count inside them."""
    for key in ("start", "end"):
        _require(_is_text(value.get(key)) or _is_from_zero(value.get(key)), f"value.{key} is no path and no number")
    start, end = value["start"], value["end"]
    if _is_whole(start) and _is_whole(end):
        _require(start <= end, "value.start is behind value.end")
    _check_offsets(value, same=start == end)
    if value.get("globalOffsets") is not None:
        spots = value["globalOffsets"]
        fits = isinstance(spots, Mapping) and all(_is_from_zero(spots.get(key)) for key in ("start", "end"))
        _require(fits and spots["start"] <= spots["end"], "value.globalOffsets is no {start, end}")
    _check_text(value)


def _check_paragraphs(_control: Control, _region: Value, value: Value) -> None:
    """Start and end are numbers of paragraphs, mostly written as texts."""
    for key in ("start", "end"):
        given = value.get(key)
        fits = _is_from_zero(given) or (isinstance(given, str) and given.isascii() and given.isdigit())
        _require(fits, f"value.{key} is no paragraph's number")
    start, end = int(value["start"]), int(value["end"])
    _require(start <= end, "value.start is behind value.end")
    _check_offsets(value, same=start == end)
    _check_text(value)


def _check_offsets(value: Value, *, same: bool) -> None:
    offsets = [value.get(key) for key in ("startOffset", "endOffset")]
    _require(all(o is None or _is_from_zero(o) for o in offsets), "value.startOffset or endOffset is no whole number")
    start, end = offsets
    if same and start is not None and end is not None:
        _require(start <= end, "value.startOffset is behind value.endOffset")


def _check_text(value: Value) -> None:
    _require(value.get("text") is None or isinstance(value["text"], str), "value.text is no text")


# -- whole tasks --------------------------------------------------------------------------------------------------------


def _check_choices(control: Control, _region: Value, value: Value) -> None:
    several = control.attributes.get("choice") == "multiple"
    _require(several or len(value["choices"]) == 1, f"{control.name!r} takes one choice")


def _check_taxonomy(control: Control, _region: Value, value: Value) -> None:
    paths = [tuple(path) for path in value["taxonomy"]]
    if not _is_dynamic(control):
        stray = next((path for path in paths if path not in control.paths), None)
        _require(stray is None, f"the path {'/'.join(stray or ())!r} is not in the config")
        if control.attributes.get("leafsOnly", "").lower() == "true":
            inner = {path[:-1] for path in control.paths}
            _require(not any(path in inner for path in paths), f"{control.name!r} takes the last level only")
    most = control.attributes.get("maxUsages", "")
    if most.isascii() and most.isdigit():
        _require(len(paths) <= int(most), f"{control.name!r} takes {most} paths at most")


def _no_shape(_control: Control, _region: Value, _value: Value) -> None:
    """The classes are all there is."""


_SHAPES: Mapping[str, Callable[[Control, Value, Value], None]] = {
    "rectanglelabels": _check_rectangle,
    "ellipselabels": _check_ellipse,
    "keypointlabels": _check_point,
    "polygonlabels": _check_polygon,
    "brushlabels": _check_brush,
    "labels": _check_span,
    "hypertextlabels": _check_hypertext,
    "paragraphlabels": _check_paragraphs,
    "choices": _check_choices,
    "taxonomy": _check_taxonomy,
}


# -- kinds of values ----------------------------------------------------------------------------------------------------


def _require(fits: bool, problem: str) -> None:
    if not fits:
        raise _Misfit(problem)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_from_zero(value: Any) -> bool:
    return _is_whole(value) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _number(holder: Value, key: str, least: float, most: float, prefix: str = "value.") -> float:
    number = holder.get(key)
    _require(_is_number(number), f"{prefix}{key} is not a number")
    found = float(number or 0)
    _require(least <= found <= most, f"{prefix}{key} is {found:g}, outside {least:g} to {most:g}")
    return found
