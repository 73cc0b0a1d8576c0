"""The rows of an image's label file for detect, segment and obb: a class, and the numbers of a shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from labelloop.errors import DataError
from labelloop.geometry import Points
from labelloop.values import Region
from sync.formats.examples import Example, Picture, labels_of, no_place_for
from sync.formats.format import Part
from sync.formats.shapes import KINDS, is_drawn_twice, kind_of_value
from sync.formats.yolo_plan import Details
from sync.formats.yolo_shapes import Bounds, Size, SizeNeeded, bounds_of, corners_of, outline_of

#: A line of a label file, the region and the label that it tells of, and the label's id.
Row = tuple[str, Region, str, int]


def shape_rows(details: Details, example: Example, picture: Picture, part: Part) -> Iterator[Row]:
    """A row for each label of each region on an image; what has no row is told to the part."""
    shapes, classes, text_of = details.shapes, details.classes, _TEXTS[details.task]
    for region in example.regions_on(picture):
        name = region.get("from_name")
        control = shapes.get(name) if isinstance(name, str) else None
        if control is None:
            if not is_drawn_twice(region, example.result, shapes):
                part.skip(example.task_id, no_place_for(region, f"YOLO {details.task}"))
            continue
        try:
            text = text_of(checked_kind(control.tag, region), region, picture.size)
        except DataError as error:
            skip_region(example, picture, region, error, part)
            continue
        labels = labels_of(region, control)
        for label in labels if len(labels) == 1 else dict.fromkeys(labels):
            class_id = classes.get(label)
            if class_id is None:
                part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")
            else:
                yield f"{class_id} {text}\n", region, label, class_id
        if not labels:
            part.skip(example.task_id, f"region {region.get('id')}: it has no class")


def checked_kind(tag: str, region: Region) -> str:
    """What a region of a shape's control is; DataError when it has no value, or one that is no shape."""
    value = region.get("value")
    if not isinstance(value, dict):
        raise DataError("expected an object as the region's value")
    kind = KINDS[tag]
    return kind_of_value(value) if kind == "any" else kind


def skip_region(example: Example, picture: Picture, region: Region, error: DataError, part: Part) -> None:
    """Tell that a region has no row. Where only the image's size was lacking, the part is written again with it."""
    if isinstance(error, SizeNeeded) and picture.address not in part.unsized:
        part.size_of(example, picture)
    part.skip(example.task_id, f"region {region.get('id')}: {error}")


def box_text(box: Bounds) -> str:
    """Centre, width and height of a box as a row has them."""
    x0, y0, x1, y1 = box
    return f"{(x0 + x1) / 2:.8f} {(y0 + y1) / 2:.8f} {x1 - x0:.8f} {y1 - y0:.8f}"


def points_text(points: Points) -> str:
    """Points as a row has them."""
    return " ".join([f"{x:.8f} {y:.8f}" for x, y in points])


#: task -> the text of a row behind the class, of a region of a kind on an image of a size
_TEXTS: Mapping[str, Callable[[str, Region, Size | None], str]] = {
    "detect": lambda kind, region, size: box_text(bounds_of(kind, region, size)),
    "segment": lambda kind, region, size: points_text(outline_of(kind, region, size)),
    "obb": lambda kind, region, size: points_text(corners_of(kind, region, size)),
}
