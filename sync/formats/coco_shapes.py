"""The shapes of regions as COCO has them: a box, an outline or a mask, and an area, in pixels and cut at the image's edge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from labelloop.errors import DataError
from labelloop.geometry import bounds, clip_points_to_image, points_area, upright_box
from labelloop.values import Region
from sync.formats.shapes import checked_kind, drawn_mask, drawn_outline


class CocoShape(NamedTuple):
    """`box` is [x, y, width, height]; `segmentation` a list of rings [x, y, x, y, ...], or a mask's size and counts."""

    box: list[float]
    segmentation: list[list[float]] | dict[str, Any]
    area: float


def coco_shape(kind: str, region: Region, size: tuple[int, int], boxed: bool = False) -> CocoShape:
    """A region of a kind of KINDS on an image of that size, or its upright bounds where `boxed` and it is no rectangle.

    DataError when it has no such shape, or nothing of it is on the image.
    """
    kind, value = checked_kind(kind, region)
    found = _masked(region, value, size) if kind == "brush" else _outlined(kind, value, size)
    if found.area <= 0:
        raise DataError("nothing of it is on the image")
    if boxed and kind != "rectangle":
        x, y, width, height = found.box
        return box_shape(x, y, x + width, y + height)
    return found


def box_shape(x0: float, y0: float, x1: float, y1: float) -> CocoShape:
    """An upright box; of area 0 where it is none."""
    area = (x1 - x0) * (y1 - y0) if x0 < x1 and y0 < y1 else 0.0
    return CocoShape([x0, y0, x1 - x0, y1 - y0], [[x0, y0, x1, y0, x1, y1, x0, y1]], area)


def _outlined(kind: str, value: Mapping[str, Any], size: tuple[int, int]) -> CocoShape:
    box = upright_box(value, *size) if kind == "rectangle" else None
    if box is not None:
        return box_shape(*box)
    outline = clip_points_to_image(drawn_outline(kind, value, size), *size)
    if len(outline) < 3:
        return CocoShape([], [], 0.0)
    x0, y0, x1, y1 = bounds(outline)
    return CocoShape([x0, y0, x1 - x0, y1 - y0], [[at for point in outline for at in point]], points_area(outline))


def _masked(region: Region, value: Mapping[str, Any], size: tuple[int, int]) -> CocoShape:
    mask = drawn_mask(region, value, size)
    code = {"size": [mask.height, mask.width], "counts": mask.compressed()}
    return CocoShape([float(at) for at in mask.box], code, float(mask.area))
