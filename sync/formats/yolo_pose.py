"""The rows of an image's label file for pose: the box of each object, and its key points in the order of their classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labelloop.errors import DataError
from labelloop.geometry import bounds
from labelloop.instances import Point, Shape, grouped_points
from labelloop.values import Region
from labelloop.yolo_labels import box_numbers, label_row
from sync.formats.examples import Example, Picture, labels_of, no_place_for
from sync.formats.flags import HIDDEN, Marks, marks_of
from sync.formats.format import Part
from sync.formats.shapes import is_drawn_twice
from sync.formats.yolo_plan import Details
from sync.formats.yolo_rows import Row, checked_kind, skip_region
from sync.formats.yolo_shapes import bounds_of

#: What a row says of a key point that is hidden, is seen, is not there.
UNSEEN, SEEN = 1, 2
_MISSING = b"0 0 0"
#: Narrower boxes around key points alone are widened to this share of the image: they could not be trained on.
_LEAST = 1e-3


@dataclass(frozen=True)
class _Image:
    """One image, and where its task says what is hidden and what could not be written."""

    details: Details
    example: Example
    picture: Picture
    marks: Marks
    part: Part

    def skip(self, region: Region, reason: str) -> None:
        self.part.skip(self.example.task_id, f"region {region.get('id')}: {reason}")


def pose_rows(details: Details, example: Example, picture: Picture, part: Part) -> Iterator[Row]:
    """A row for each label of each object on an image; what has no row is told to the part."""
    image = _Image(details, example, picture, marks_of(example.result, details.flags), part)
    shapes, points = _drawn(image)
    grouped = grouped_points(shapes, points, example.result)
    tied = {str(point.region.get("id")) for point in points}
    for entry in example.result if len(example.pictures) == 1 or picture is example.pictures[0] else ():
        if entry.get("type") == "relation" and not tied & {str(entry.get("from_id")), str(entry.get("to_id"))}:
            part.skip(example.task_id, no_place_for(entry, "YOLO"))
    for shape, own in zip(shapes, grouped.of_shapes, strict=True):
        numbers = b"%b %b" % (box_numbers(shape.bounds), _points_numbers(image, own))
        labels = labels_of(shape.region, details.shapes[shape.region["from_name"]])
        for label in dict.fromkeys(labels):
            class_id = details.classes.get(label)
            if class_id is None:
                image.skip(shape.region, f"class {label!r} is not in the label config")
            else:
                yield label_row(class_id, numbers), shape.region, label, class_id
        if not labels:
            image.skip(shape.region, "it has no class")
    for loose in grouped.loose:
        yield from _loose_row(image, loose)


def _drawn(image: _Image) -> tuple[list[Shape], list[Point]]:
    """The shapes and key points of an image, in fractions of it."""
    details = image.details
    shapes, points = [], []
    for region in image.example.regions_on(image.picture):
        name = str(region.get("from_name"))
        try:
            if name in details.shapes:
                kind = checked_kind(details.shapes[name].tag, region)
                shapes.append(Shape(region, bounds_of(kind, region, image.picture.size)))
            elif name in details.points:
                points.append(_point(region))
            elif region.get("type") != "relation" and not _is_told(region, image):
                image.part.skip(image.example.task_id, no_place_for(region, "YOLO pose"))
        except DataError as error:
            skip_region(image.example, image.picture, region, error, image.part)
    return shapes, points


def _is_told(region: Region, image: _Image) -> bool:
    """Whether a region is a mark of another, or only the shape of one that has a class."""
    details = image.details
    return region.get("from_name") in details.flags or is_drawn_twice(
        region, image.example.result, {**details.shapes, **details.points}
    )


def _point(region: Region) -> Point:
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise DataError("expected an object as the region's value")
    try:
        x, y = float(value["x"]) / 100, float(value["y"]) / 100
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError("expected numbers x and y in a key point") from error
    if not (math.isfinite(x + y) and 0 <= x <= 1 and 0 <= y <= 1):
        raise DataError("nothing of it is on the image")
    return Point(region, x, y)


def _points_numbers(image: _Image, points: Sequence[Point]) -> bytes:
    """The key points of an object as a row has them."""
    details = image.details
    found = [_MISSING] * len(details.keypoints)
    for point in points:
        labels = labels_of(point.region, details.points[point.region["from_name"]])
        for label in labels:
            place = details.keypoints.get(label)
            if place is None:
                image.skip(point.region, f"class {label!r} is not in the label config")
            elif found[place] != _MISSING:
                image.skip(point.region, f"its object has another key point {label!r}")
            else:
                hidden = HIDDEN in image.marks.get(str(point.region.get("id")), ())
                found[place] = b"%.8f %.8f %d" % (point.x, point.y, UNSEEN if hidden else SEEN)
        if not labels:
            image.skip(point.region, "it has no class")
    return b" ".join(found)


def _loose_row(image: _Image, points: Sequence[Point]) -> Iterator[Row]:
    """The row of points without a shape around them: an object where there is only one class that it can have."""
    classes = list(image.details.classes.items())
    if len(classes) != 1:
        for point in points:
            image.skip(point.region, "no box, parent or relation tells of which object it is a key point")
        return
    x0, y0, x1, y1 = bounds([(point.x, point.y) for point in points])
    x0, y0 = min(x0, 1 - _LEAST), min(y0, 1 - _LEAST)
    box = (x0, y0, max(x1, x0 + _LEAST), max(y1, y0 + _LEAST))
    ((label, class_id),) = classes
    numbers = b"%b %b" % (box_numbers(box), _points_numbers(image, points))
    yield label_row(class_id, numbers), points[0].region, label, class_id
