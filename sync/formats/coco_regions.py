"""Annotations of COCO files as Label Studio's regions: one region for each, and one for each of its key points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from labelloop.errors import DataError
from labelloop.geometry import Points, bounds, clip_points_to_image, points_area, rectangle_value
from labelloop.label_config import Control, LabelConfig
from labelloop.masks import Mask, brush_of_pixels, joined, mask_of_compressed, mask_of_counts, mask_of_polygons
from labelloop.outlines import joined_rings, mask_rings
from labelloop.values import Region
from sync.formats.coco_index import CocoRow
from sync.formats.flags import CROWD, HIDDEN, flag_choice, flag_region
from sync.formats.image_reading import Unfit, box_value, fitting_control, pairs, percents
from sync.formats.reading import region_for

#: What an annotation draws, and the tags of the controls that may hold it, the fitting one first.
TAGS = {
    "box": ("RectangleLabels", "PolygonLabels", "BrushLabels"),
    "polygon": ("PolygonLabels", "BrushLabels", "RectangleLabels"),
    "mask": ("BrushLabels", "PolygonLabels", "RectangleLabels"),
}
#: Percent of the image's width that a key point takes on the screen.
_POINT_WIDTH = 0.5
_HIDDEN_FLAG = 1
_NULL = msgspec.Raw(b"null")

Refused = Callable[[CocoRow, str, str], None]


@dataclass
class Survey:
    """What the annotations of some files have, gathered while they are indexed."""

    kinds: set[str] = field(default_factory=set)
    has_points: bool = False
    has_hidden: bool = False
    has_crowds: bool = False

    def look(self, row: CocoRow) -> None:
        """Take note of an annotation."""
        try:
            self.kinds.add(drawn_kind(row))
            flags = keypoints_of(row)[2::3]
        except DataError:
            return  # told when it is read
        self.has_points = self.has_points or any(flags)
        self.has_hidden = self.has_hidden or _HIDDEN_FLAG in flags
        self.has_crowds = self.has_crowds or bool(row.iscrowd)


def drawn_kind(row: CocoRow) -> str:
    """A key of TAGS: what an annotation draws when all of it is kept."""
    text = bytes(memoryview(row.segmentation)[:64]).strip()
    if text.startswith(b"{"):
        return "mask"
    rings = rings_of(row) if text.startswith(b"[") else []
    if len(rings) > 1:
        return "mask"
    return "box" if not rings or _is_box(row, rings[0]) else "polygon"


def rings_of(row: CocoRow) -> list[Points]:
    """The rings of an annotation's outline, those without area left out; DataError when it is no outline."""
    try:
        told = msgspec.json.decode(row.segmentation)
    except msgspec.DecodeError as error:
        raise DataError(f"its segmentation cannot be read: {error}") from error
    if told is None:
        return []
    if not isinstance(told, list):
        raise DataError("expected lists of numbers as its segmentation")
    listed = [told] if told and not isinstance(told[0], list) else told  # some tools leave the outer list out
    return [points for ring in listed if len(points := pairs(ring)) > 2]


def keypoints_of(row: CocoRow) -> list[float]:
    """x, y and flag of each key point; empty where there are none; DataError when they are no such list."""
    try:
        told = msgspec.json.decode(row.keypoints)
    except msgspec.DecodeError as error:
        raise DataError(f"its key points cannot be read: {error}") from error
    if told is None:
        return []
    if not isinstance(told, list) or len(told) % 3 or not all(isinstance(number, int | float) for number in told):
        raise DataError("expected three numbers for each key point")
    return told


def _is_box(row: CocoRow, ring: Points) -> bool:
    """Whether an outline is a box: the annotation's own, or one that our own export turned."""
    if len(ring) != 4:
        return False
    if _rotation_of(row):
        return _has_right_angles(ring)
    try:
        x, y, width, height = (float(number) for number in row.bbox)
    except (TypeError, ValueError, OverflowError):
        return False
    x0, y0, x1, y1 = bounds(ring)
    near = 1e-6 * (abs(x) + abs(y) + abs(width) + abs(height))
    same = max(abs(x0 - x), abs(y0 - y), abs(x1 - x - width), abs(y1 - y - height)) <= near
    return same and points_area(ring) >= 0.999999 * width * height


def _has_right_angles(ring: Points) -> bool:
    """Whether four points are a rectangle: its diagonals are of one length and cut each other in half."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = ring
    one, other = math.hypot(cx - ax, cy - ay), math.hypot(dx - bx, dy - by)
    near = 1e-6 * (one + other)
    return abs(one - other) <= near and math.hypot(ax + cx - bx - dx, ay + cy - by - dy) <= near


def _rotation_of(row: CocoRow) -> float:
    """How far our own export says that the annotation's box is turned; 0 where nothing says it."""
    told = row.labelloop.get("rotation") if isinstance(row.labelloop, Mapping) else None
    return float(told) if isinstance(told, int | float) and math.isfinite(told) else 0.0


@dataclass
class _Made:
    """What was made of one image's annotations so far: regions, their ids, and regions that may get more classes."""

    size: tuple[int, int]
    regions: list[Region] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    shared: dict[Any, Region] = field(default_factory=dict)

    def add(self, control: Control, value: Mapping[str, Any], label: str, wanted: Any = None) -> Region:
        """A region; its id is the wanted one where that is a text that no other has."""
        region = region_for(control, len(self.regions) + 1, value, [label], self.size)
        if isinstance(wanted, str) and wanted and wanted not in self.ids:
            region["id"] = wanted
        number = len(self.regions) + 1
        while region["id"] in self.ids:
            number += 1
            region["id"] = f"r{number}"
        self.ids.add(region["id"])
        self.regions.append(region)
        return region


class RegionMaker:
    """Makes regions that fit a config of the annotations of one file.

    `task` is "detect" (boxes), "segment" (outlines and masks too) or "pose" (key points too).
    """

    def __init__(self, config: LabelConfig, task: str, categories: Mapping[Any, Mapping[str, Any]]) -> None:
        self._config, self._task = config, task
        self._names = {number: str(category.get("name")) for number, category in categories.items()}
        self._points = {number: point_names(category) for number, category in categories.items()}
        self._flags = {mark: flag_choice(config, mark) for mark in (HIDDEN, CROWD)}

    def regions(self, rows: Iterable[CocoRow], size: tuple[int, int], refused: Refused) -> list[Region]:
        """The regions of an image; what cannot be one is told to `refused` (annotation, reason, detail)."""
        made = _Made(size)
        for row in rows:
            try:
                self._add(row, made, refused)
            except Unfit as error:
                refused(row, error.reason, str(error))
            except DataError as error:
                refused(row, "bad_annotation", str(error))
        return made.regions

    def _add(self, row: CocoRow, made: _Made, refused: Refused) -> None:
        label = self._names.get(row.category_id) if isinstance(row.category_id, int | str) else None
        if label is None:
            raise Unfit("unknown_category", f"the file has no category {row.category_id!r}")
        ours = row.labelloop if isinstance(row.labelloop, Mapping) else {}
        wanted = ours.get("region")
        key = repr((wanted, ours.get("control"), row.bbox)) if wanted is not None else None
        if key in made.shared:  # our own export writes a region with several classes once for each
            region = made.shared[key]
            labels = region["value"][region["type"]]
            if label not in labels and self._takes(region, label):
                labels.append(label)
            return
        points = keypoints_of(row) if self._task == "pose" else []
        parent = self._shape(row, label, made, ours, optional=any(points[2::3]))
        if parent is not None:
            if key is not None:
                made.shared[key] = parent
            if row.iscrowd:
                self._mark(parent, CROWD, made)
        self._add_points(row, points, parent, made, refused)

    def _takes(self, region: Region, label: str) -> bool:
        return label in self._config.control(region["from_name"]).classes

    def _shape(
        self, row: CocoRow, label: str, made: _Made, ours: Mapping[str, Any], *, optional: bool
    ) -> Region | None:
        """The region of an annotation's shape; None where it or the config has none and it is `optional`."""
        if optional and row.bbox is None and row.segmentation == _NULL:
            return None
        kind = "box" if self._task == "detect" else drawn_kind(row)
        try:
            control = fitting_control(self._config, TAGS[kind], label, ours.get("control"))
        except Unfit:
            if optional:
                return None
            raise
        return self._checked(
            made.add(control, _VALUES[control.tag](row, kind, made.size), label, ours.get("region")), made
        )

    def _checked(self, region: Region, made: _Made) -> Region:
        problem = self._config.problem_with(region)
        if problem is not None:
            made.regions.pop()
            raise Unfit("unfit", problem)
        return region

    def _mark(self, region: Region, mark: str, made: _Made) -> None:
        flag = self._flags[mark]
        if flag is not None:
            control, choice = flag
            made.regions.append(flag_region(region, control, [choice]))

    def _add_points(
        self, row: CocoRow, numbers: list[float], parent: Region | None, made: _Made, refused: Refused
    ) -> None:
        names = self._points.get(row.category_id, [])
        ids = row.labelloop.get("points") if isinstance(row.labelloop, Mapping) else None
        for number, (x, y, flag) in enumerate(zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True)):
            if not flag:
                continue
            try:
                if number >= len(names):
                    raise Unfit("no_name", f"its category names {len(names)} key points")
                name = names[number]
                control = fitting_control(self._config, ["KeyPointLabels"], name)
                wanted = ids[number] if isinstance(ids, list) and number < len(ids) else None
                region = self._checked(made.add(control, _point_value(x, y, made.size), name, wanted), made)
            except DataError as error:
                refused(row, getattr(error, "reason", "bad_keypoint"), f"key point {number + 1}: {error}")
                continue
            if parent is not None:
                region["parentID"] = parent["id"]
            if flag == _HIDDEN_FLAG:
                self._mark(region, HIDDEN, made)


def point_names(category: Mapping[str, Any]) -> list[str]:
    """The names of a category's key points."""
    names = category.get("keypoints")
    return [str(name) for name in names] if isinstance(names, list) else []


# -- values of regions ------------------------------------------------------------------------------------------------


def _point_value(x: float, y: float, size: tuple[int, int]) -> dict[str, float]:
    if not (0 <= x <= size[0] and 0 <= y <= size[1]):
        raise DataError("it is not on the image")
    ((across, down),) = percents([(x, y)], size)
    return {"x": across, "y": down, "width": _POINT_WIDTH}


def _box_of(row: CocoRow, kind: str, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1): the annotation's own box, else that of its shape."""
    if isinstance(row.bbox, list) and len(row.bbox) == 4:
        (x, y), (width, height) = pairs(row.bbox)
        return x, y, x + width, y + height
    rings = rings_of(row) if kind != "mask" else []
    if rings:
        return bounds([point for ring in rings for point in ring])
    if row.segmentation == _NULL:
        raise DataError("expected four numbers as its bbox")
    x, y, width, height = _mask_of(row, kind, size).box
    return x, y, x + width, y + height


def _rectangle(row: CocoRow, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    rotation = _rotation_of(row)
    rings = rings_of(row) if rotation and kind == "box" else []
    if len(rings) == 1 and _is_box(row, rings[0]):
        return {**rectangle_value(rings[0], *size), "rotation": rotation}
    return box_value(*_box_of(row, kind, size), size)


def _polygon(row: CocoRow, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    points: Points
    if kind == "mask":
        rings = mask_rings(_mask_of(row, kind, size).pixels())
        points = joined_rings(rings).tolist() if rings else []
    else:
        points = _outline(row, kind, size)
    inside = clip_points_to_image(points, *size) if points else []
    if len(inside) < 3 or points_area(inside) <= 0:
        raise DataError("its outline has no area on the image")
    return {"points": percents(inside, size), "closed": True}


def _outline(row: CocoRow, kind: str, size: tuple[int, int]) -> Points:
    rings = rings_of(row)
    if rings:
        return rings[0]
    x0, y0, x1, y1 = _box_of(row, kind, size)
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _brush(row: CocoRow, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    mask = _mask_of(row, kind, size)
    if not mask.area:
        raise DataError("its mask has no pixel on the image")
    return {"format": "rle", "rle": brush_of_pixels(mask.pixels())}


def _mask_of(row: CocoRow, kind: str, size: tuple[int, int]) -> Mask:
    """The mask of an annotation; of several outlines all that any of them holds."""
    told = msgspec.json.decode(row.segmentation)
    if not isinstance(told, Mapping):
        rings = rings_of(row) or [_outline(row, kind, size)]
        return joined([mask_of_polygons([ring], *size) for ring in rings])
    if told.get("size") != [size[1], size[0]]:
        raise DataError(f"expected a mask of height and width {[size[1], size[0]]}, got one of {told.get('size')}")
    counts: Any = told.get("counts")
    return mask_of_compressed(counts, *size) if isinstance(counts, str) else mask_of_counts(counts, *size)


_VALUES = {"RectangleLabels": _rectangle, "PolygonLabels": _polygon, "BrushLabels": _brush}
