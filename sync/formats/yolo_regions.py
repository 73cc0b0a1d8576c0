"""Rows of YOLO's label files as Label Studio's regions, under the controls of a config that have their classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from labelloop.geometry import Points, bounds, points_area, rectangle_value, smallest_rectangle
from labelloop.label_config import Control, LabelConfig
from labelloop.masks import brush_of_pixels, mask_of_polygons
from labelloop.values import Region
from sync.formats.examples import image_size
from sync.formats.flags import HIDDEN, flag_choice, flag_region
from sync.formats.reading import control_for, region_for
from sync.formats.yolo_parsing import KeyPoint, Misread, ParsedRow

#: What a row draws, and the tags of the controls that may hold it, the fitting one first.
TAGS = {
    "box": ("RectangleLabels", "PolygonLabels", "BrushLabels"),
    "polygon": ("PolygonLabels", "BrushLabels", "RectangleLabels"),
    "turned": ("RectangleLabels", "PolygonLabels", "BrushLabels"),
}
#: Percent of the image's width that a key point takes on the screen.
_POINT_WIDTH = 0.5
#: A turned box whose corners fill less of their smallest rectangle is none; the rectangle is taken then.
_SQUARE = 0.999
_UNIT = (1, 1)

Refused = Callable[[str, str], None]


class SizedImage:
    """An image whose size is read from its file's head when somebody asks."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.asked = False

    @cached_property
    def _size(self) -> tuple[int, int] | None:
        return image_size(self._file) if self._file is not None else None

    def size(self) -> tuple[int, int]:
        """(width, height); Misread where nobody knows it."""
        self.asked = True
        if self._size is None:
            raise Misread("no_size", "turned boxes and masks count in pixels, and there is no image to tell its size")
        return self._size

    @property
    def known(self) -> tuple[int, int] | None:
        """The size, where somebody asked for it and it is known."""
        return self._size if self.asked else None


class RegionMaker:
    """Makes regions that fit a config; `classes` and `points` are the names behind the numbers, `bounded`: boxes only."""

    def __init__(
        self, config: LabelConfig, classes: Sequence[str], points: Sequence[str], *, bounded: bool = False
    ) -> None:
        self._config, self._classes, self._points, self._bounded = config, classes, points, bounded
        self._hidden = flag_choice(config, HIDDEN)

    def add(self, row: ParsedRow, image: SizedImage, made: list[Region], refused: Refused) -> None:
        """Add the regions of a row; Misread when it has none. Key points that have no place are told to `refused`."""
        if row.class_id >= len(self._classes):
            known = f"0 to {len(self._classes) - 1}"
            raise Misread("class_unknown", f"expected a class from {known}, as the names tell, got {row.class_id}")
        name, kind = self._classes[row.class_id], "box" if self._bounded else row.kind
        control = control_for(self._config, TAGS[kind], name)
        points = () if self._bounded else row.points
        if control is None and not points:
            raise self._no_control(TAGS[kind], name)
        parent = None
        if control is not None:
            parent = self._region(control, _value(control.tag, row, image), name, row.score, image, made)
        for point in points:
            try:
                self._add_point(point, parent, row.score, image, made)
            except Misread as error:
                refused(error.reason, str(error))

    def _add_point(
        self, point: KeyPoint, parent: Region | None, score: float | None, image: SizedImage, made: list[Region]
    ) -> None:
        name = self._points[point.place]
        control = control_for(self._config, ("KeyPointLabels",), name)
        if control is None:
            raise self._no_control(("KeyPointLabels",), name)
        value = {"x": _percent(point.x), "y": _percent(point.y), "width": _POINT_WIDTH}
        own = point.score if score is None or point.score is None else score * point.score
        region = self._region(control, value, name, own if own is not None else score, image, made)
        if parent is not None:
            region["parentID"] = parent["id"]
        if point.hidden and self._hidden is not None:
            flags, choice = self._hidden
            made.append(flag_region(region, flags, [choice]))

    def _region(
        self,
        control: Control,
        values: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        label: str,
        score: float | None,
        image: SizedImage,
        made: list[Region],
    ) -> Region:
        """A region with the first of the values that fits; Misread when none does."""
        problem: str | None = "it has no place"
        for value in [values] if isinstance(values, Mapping) else values:
            region = region_for(control, len(made) + 1, value, [label], image.known)
            if score is not None:
                region |= {"score": score, "origin": "prediction"}
            problem = self._config.problem_with(region)
            if problem is None:
                made.append(region)
                return region
        raise Misread("unfit", str(problem))

    def _no_control(self, tags: Sequence[str], name: str) -> Misread:
        known = control_for(self._config, tags) is not None
        listed = " or ".join(f"<{tag}>" for tag in tags)
        return Misread(
            "class_not_in_config" if known else "no_control", f"the label config has no {listed} with {name!r}"
        )


def _value(tag: str, row: ParsedRow, image: SizedImage) -> Sequence[Mapping[str, Any]] | Mapping[str, Any]:
    """What a region says of a row's shape; of a turned box its four names, as no more than one may fit."""
    outline = _outline(row)
    if tag == "RectangleLabels":
        return _turned(outline, image) if row.kind == "turned" else _upright(outline)
    if points_area(outline) <= 0.0:
        raise Misread("no_area", "the shape has no area on the image")
    if tag == "PolygonLabels":
        return {"points": [[_percent(x), _percent(y)] for x, y in outline], "closed": True}
    width, height = image.size()
    mask = mask_of_polygons([[(x * width, y * height) for x, y in outline]], width, height)
    if not mask.area:
        raise Misread("no_area", "no pixel of the image has its middle in the shape")
    return {"format": "rle", "rle": brush_of_pixels(mask.pixels())}


def _outline(row: ParsedRow) -> Points:
    """The corners of a shape on the image, in fractions."""
    if row.kind == "box":
        x, y, width, height = row.numbers
        x0, y0, x1, y1 = (_inside(at) for at in (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return [(_inside(x), _inside(y)) for x, y in zip(row.numbers[0::2], row.numbers[1::2], strict=True)]


def _inside(at: float) -> float:
    return min(max(at, 0.0), 1.0)


def _percent(at: float) -> float:
    return 100 * _inside(at)


def _upright(outline: Points) -> Mapping[str, Any]:
    x0, y0, x1, y1 = bounds(outline)
    if not (x0 < x1 and y0 < y1):
        raise Misread("no_area", "the box has no area on the image")
    return {"x": 100 * x0, "y": 100 * y0, "width": 100 * (x1 - x0), "height": 100 * (y1 - y0), "rotation": 0}


def _turned(corners: Points, image: SizedImage) -> Sequence[Mapping[str, Any]] | Mapping[str, Any]:
    """A turned rectangle, called by each of its corners in turn: Label Studio takes none whose first is off the image."""
    x0, y0, x1, y1 = bounds(corners)
    if sorted((x, y) for x, y in corners) == [(x0, y0), (x0, y1), (x1, y0), (x1, y1)]:
        return _upright(corners)
    width, height = image.size()
    pixels = [(x * width, y * height) for x, y in corners]
    if _is_anticlockwise(pixels):
        pixels = [pixels[0], *reversed(pixels[1:])]
    smallest = smallest_rectangle(pixels)
    area = points_area(smallest)
    if area <= 0.0:
        raise Misread("no_area", "the box has no area on the image")
    named = pixels if points_area(pixels) >= _SQUARE * area else smallest
    return [rectangle_value([*named[first:], *named[:first]], width, height) for first in range(4)]


def _is_anticlockwise(corners: Points) -> bool:
    twice = sum(x0 * y1 - y0 * x1 for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True))
    return twice < 0
