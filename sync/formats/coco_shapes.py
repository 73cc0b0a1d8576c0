"""The shapes of regions as COCO has them: a box, an outline or a mask, and an area, in pixels and cut at the image's edge."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labelloop.errors import DataError
from labelloop.geometry import (
    Points,
    bounds,
    clip_points_to_image,
    ellipse_points,
    points_area,
    polygon_points,
    rectangle_points,
    upright_box,
)
from labelloop.values import Region

#: control tag -> what its regions are; of a `<Labels>`, the region itself tells.
KINDS = {
    "RectangleLabels": "rectangle",
    "PolygonLabels": "polygon",
    "EllipseLabels": "ellipse",
    "BrushLabels": "brush",
    "Labels": "any",
}

_BARE = ("rectangle", "polygon", "ellipse", "brush", "keypoint")


@dataclass(frozen=True, slots=True)
class CocoShape:
    """`box` is [x, y, width, height]; `segmentation` a list of rings [x, y, x, y, ...], or a mask's size and counts."""

    box: list[float]
    segmentation: list[list[float]] | dict[str, Any]
    area: float


def coco_shape(kind: str, region: Region, size: tuple[int, int], *, boxed: bool = False) -> CocoShape:
    """A region of a kind of KINDS on an image of that size, or its upright bounds where `boxed` and it is no rectangle.

    DataError when it has no such shape, or nothing of it is on the image.
    """
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise DataError("expected an object as the region's value")
    if kind == "any":
        kind = kind_of_value(value)
    found = _brush(region, value, size) if kind == "brush" else _outlined(kind, value, size)
    if found.area <= 0:
        raise DataError("nothing of it is on the image")
    if boxed and kind != "rectangle":
        x, y, width, height = found.box
        return _box_shape(x, y, x + width, y + height)
    return found


def kind_of_value(value: Mapping[str, Any]) -> str:
    """What a region's value draws; DataError when it is nothing that COCO knows."""
    for key, kind in (("points", "polygon"), ("rle", "brush"), ("radiusX", "ellipse"), ("height", "rectangle")):
        if key in value:
            return kind
    raise DataError(f"expected a rectangle, a polygon, an ellipse or a brush, got the keys {sorted(map(str, value))}")


def is_drawn_twice(region: Region, result: Iterable[Region], controls: Container[str]) -> bool:
    """Whether a region is only the shape (of a `<Rectangle>`, say) of another with its id that one of the controls labels."""
    return region.get("type") in _BARE and any(
        other.get("id") == region.get("id") and str(other.get("from_name")) in controls for other in result
    )


def _outlined(kind: str, value: Mapping[str, Any], size: tuple[int, int]) -> CocoShape:
    box = upright_box(value, *size) if kind == "rectangle" else None
    if box is not None:
        return _box_shape(*box)
    outline = clip_points_to_image(_outline(kind, value, size), *size)
    if len(outline) < 3:
        return CocoShape([], [], 0.0)
    x0, y0, x1, y1 = bounds(outline)
    return CocoShape([x0, y0, x1 - x0, y1 - y0], [[at for point in outline for at in point]], points_area(outline))


def _box_shape(x0: float, y0: float, x1: float, y1: float) -> CocoShape:
    area = (x1 - x0) * (y1 - y0) if x0 < x1 and y0 < y1 else 0.0
    return CocoShape([x0, y0, x1 - x0, y1 - y0], [[x0, y0, x1, y0, x1, y1, x0, y1]], area)


def _outline(kind: str, value: Mapping[str, Any], size: tuple[int, int]) -> Points:
    """The corners in pixels of a rectangle, a polygon or, near enough, an ellipse."""
    if kind == "rectangle":
        return rectangle_points(value, *size)
    if kind == "ellipse":
        return ellipse_points(value, *size)
    return polygon_points(value, *size)


def _brush(region: Region, value: Mapping[str, Any], size: tuple[int, int]) -> CocoShape:
    """The mask as it was painted, on an image of another size enlarged or reduced pixel by pixel."""
    from labelloop.masks import mask_of_brush, resized

    width, height = region.get("original_width"), region.get("original_height")
    if not isinstance(width, int) or not isinstance(height, int):
        raise DataError("a mask cannot be read without original_width and original_height")
    mask = resized(mask_of_brush(value.get("rle") or (), width, height), *size)
    return CocoShape(
        [float(at) for at in mask.box],
        {"size": [mask.height, mask.width], "counts": mask.compressed()},
        float(mask.area),
    )
