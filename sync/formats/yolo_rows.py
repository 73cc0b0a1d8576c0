"""The rows of an image's label file for detect, segment and obb: a class, and the numbers of a shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from labelloop.errors import DataError
from labelloop.geometry import upright_box
from labelloop.values import Region
from labelloop.yolo_labels import box_numbers, label_row, points_numbers
from sync.formats.examples import Example, Picture, labels_of, no_place_for
from sync.formats.format import Part
from sync.formats.shapes import KINDS, is_drawn_twice, kind_of_value
from sync.formats.yolo_plan import Details
from sync.formats.yolo_shapes import LEAST, Size, SizeNeeded, bounds_of, corners_of, outline_of

#: A line of a label file, the region and the label that it tells of, and the label's id.
Row = tuple[bytes, Region, str, int]


def shape_rows(details: Details, example: Example, picture: Picture, part: Part) -> Iterator[Row]:
    """A row for each label of each region on an image; what has no row is told to the part."""
    shapes, classes, numbers_of, size = details.shapes, details.classes, _NUMBERS[details.task], picture.size
    boxed = details.task == "detect"
    for region in example.regions_on(picture):
        name = region.get("from_name")
        control = shapes.get(name) if isinstance(name, str) else None
        if control is None:
            if not is_drawn_twice(region, example.result, shapes):
                part.skip(example.task_id, no_place_for(region, f"YOLO {details.task}"))
            continue
        value, kind = region.get("value"), KINDS[control.tag]
        # What nearly every region is, without any further call; the way of all others leads to the same.
        box = upright_box(value, 1.0, 1.0) if boxed and kind == "rectangle" and type(value) is dict else None
        if box is not None and box[2] - box[0] >= LEAST and box[3] - box[1] >= LEAST:
            numbers = box_numbers(box)
        else:
            try:
                numbers = numbers_of(checked_kind(control.tag, region), region, size)
            except DataError as error:
                skip_region(example, picture, region, error, part)
                continue
        labels = labels_of(region, control)
        for label in labels if len(labels) == 1 else dict.fromkeys(labels):
            class_id = classes.get(label)
            if class_id is None:
                part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")
            else:
                yield label_row(class_id, numbers), region, label, class_id
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


#: task -> what a row has behind the class, of a region of a kind on an image of a size
_NUMBERS: Mapping[str, Callable[[str, Region, Size | None], bytes]] = {
    "detect": lambda kind, region, size: box_numbers(bounds_of(kind, region, size)),
    "segment": lambda kind, region, size: points_numbers(outline_of(kind, region, size)),
    "obb": lambda kind, region, size: points_numbers(corners_of(kind, region, size)),
}
