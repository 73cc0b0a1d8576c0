"""What regions draw on images, whatever the format: kinds of shapes, outlines in pixels, masks at the image's size."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from labelloop.errors import DataError
from labelloop.geometry import Points, ellipse_points, polygon_points, rectangle_points
from labelloop.values import Region

if TYPE_CHECKING:
    from labelloop.masks import Mask

#: control tag -> what its regions are; of a `<Labels>`, the region itself tells.
KINDS = {
    "RectangleLabels": "rectangle",
    "PolygonLabels": "polygon",
    "EllipseLabels": "ellipse",
    "BrushLabels": "brush",
    "Labels": "any",
}
_OUTLINES = {"rectangle": rectangle_points, "polygon": polygon_points, "ellipse": ellipse_points}
_BARE = ("rectangle", "polygon", "ellipse", "brush", "keypoint")


def checked_kind(kind: str, region: Region) -> tuple[str, Mapping[str, Any]]:
    """("rectangle", "polygon", "ellipse" or "brush", the region's value); DataError where it has no such shape."""
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise DataError("expected an object as the region's value")
    return (kind_of_value(value) if kind == "any" else kind), value


def kind_of_value(value: Mapping[str, Any]) -> str:
    """What a region's value draws; DataError when it is no shape with an area."""
    for key, kind in (("points", "polygon"), ("rle", "brush"), ("radiusX", "ellipse"), ("height", "rectangle")):
        if key in value:
            return kind
    raise DataError(f"expected a rectangle, a polygon, an ellipse or a brush, got the keys {sorted(map(str, value))}")


def is_drawn_twice(region: Region, result: Iterable[Region], controls: Container[str]) -> bool:
    """Whether a region is only the shape (of a `<Rectangle>`, say) of another with its id that one of the controls labels."""
    return region.get("type") in _BARE and any(
        other.get("id") == region.get("id") and str(other.get("from_name")) in controls for other in result
    )


def drawn_outline(kind: str, value: Mapping[str, Any], size: tuple[int, int]) -> Points:
    """The corners in pixels of a rectangle, a polygon or, near enough, an ellipse; DataError on a bad number."""
    return _OUTLINES[kind](value, *size)


def drawn_mask(region: Region, value: Mapping[str, Any], size: tuple[int, int]) -> Mask:
    """A brush's mask, on an image of another size than it was painted on enlarged or reduced pixel by pixel."""
    from labelloop.masks import mask_of_brush, resized

    width, height = region.get("original_width"), region.get("original_height")
    if not isinstance(width, int) or not isinstance(height, int):
        raise DataError("a mask cannot be read without original_width and original_height")
    return resized(mask_of_brush(value.get("rle") or (), width, height), *size)
