"""COCO annotations with key points: each object's box or outline, and its points in the order of the classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from labelloop.errors import DataError
from labelloop.geometry import bounds
from labelloop.instances import Point, Shape, grouped_points
from labelloop.label_config import Control
from labelloop.values import Region
from sync.formats.coco_plan import CocoImage, Details
from sync.formats.coco_shapes import CocoShape, box_shape, coco_shape
from sync.formats.examples import Example, labels_of, no_place_for
from sync.formats.flags import CROWD, HIDDEN
from sync.formats.format import Part
from sync.formats.shapes import KINDS, is_drawn_twice

#: COCO's flags of a key point: not labelled, labelled and hidden, labelled and visible.
ABSENT, UNSEEN, SEEN = 0, 1, 2


@dataclass(frozen=True)
class _Object:
    """What one or more annotations say: a shape, its classes, and the region that it is told of."""

    region: Region
    shape: CocoShape
    labels: Sequence[str]
    points: list[Point]


def pose_lines(details: Details, image: CocoImage, part: Part) -> list[bytes]:
    """The annotations of one image, a line each without its id."""
    shapes, points = _drawn(details, image, part)
    grouped = grouped_points([shape for shape, _, _ in shapes], points, image.example.result)
    lines: list[bytes] = []
    for (shape, found, labels), own in zip(shapes, grouped.of_shapes, strict=True):
        lines += _lines(details, image, _Object(shape.region, found, labels, own), part)
    for loose in grouped.loose:
        lines += _loose_lines(details, image, loose, part)
    return lines


def lost_relations(details: Details, example: Example) -> Iterator[Region]:
    """The relations of a task that do not tie a key point to its object."""
    points = {str(region.get("id")) for region in example.result if str(region.get("from_name")) in details.points}
    for entry in example.result:
        if entry.get("type") == "relation" and not points & {str(entry.get("from_id")), str(entry.get("to_id"))}:
            yield entry


def _drawn(
    details: Details, image: CocoImage, part: Part
) -> tuple[list[tuple[Shape, CocoShape, list[str]]], list[Point]]:
    """The shapes and the key points of an image that can be written; the rest is told to the part."""
    example = image.example
    shapes: list[tuple[Shape, CocoShape, list[str]]] = []
    points: list[Point] = []
    for region in example.regions_on(image.picture):
        name = str(region.get("from_name"))
        control = details.shapes.get(name) or details.points.get(name)
        try:
            if control is None:
                if region.get("type") != "relation" and _is_lost(region, image, details):
                    part.skip(example.task_id, no_place_for(region, "COCO"))
            elif name in details.points:
                points.append(_point(region, image.size))
            else:
                found = coco_shape(KINDS[control.tag], region, image.size)
                x, y, width, height = found.box
                labels = _known(labels_of(region, control), details.categories)
                shapes.append((Shape(region, (x, y, x + width, y + height)), found, labels))
        except DataError as error:
            part.skip(example.task_id, f"region {region.get('id')}: {error}")
    return shapes, points


def _is_lost(region: Region, image: CocoImage, details: Details) -> bool:
    if str(region.get("from_name")) in details.flags:
        return False
    return not is_drawn_twice(region, image.example.result, {**details.shapes, **details.points})


def _known(labels: list[str], categories: Mapping[str, int]) -> list[str]:
    """The labels, each once; DataError when there is none, or one that is no category."""
    unknown = [label for label in labels if label not in categories]
    if unknown or not labels:
        raise DataError(f"class {unknown[0]!r} is not in the label config" if unknown else "it has no class")
    return list(dict.fromkeys(labels))


def _point(region: Region, size: tuple[int, int]) -> Point:
    """A key point in pixels; DataError when it has no place on the image."""
    value = region.get("value")
    try:
        x, y = float(value["x"]) * size[0] / 100, float(value["y"]) * size[1] / 100  # type: ignore[index]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError("expected numbers x and y in a key point") from error
    if not (math.isfinite(x + y) and 0 <= x <= size[0] and 0 <= y <= size[1]):
        raise DataError("nothing of it is on the image")
    return Point(region, x, y)


def _loose_lines(details: Details, image: CocoImage, points: list[Point], part: Part) -> Iterator[bytes]:
    """The annotation of points around which there is no shape; told to the part where nobody knows whose they are."""
    if len(details.categories) != 1:
        for point in points:
            part.skip(
                image.example.task_id,
                f"region {point.region.get('id')}: no box, parent or relation tells of which object it is a key point",
            )
        return
    x0, y0, x1, y1 = bounds([(point.x, point.y) for point in points])
    # One point, or points in a line, have no area: a pixel, or the image's last one.
    x0, y0 = min(x0, max(image.size[0] - 1.0, 0.0)), min(y0, max(image.size[1] - 1.0, 0.0))
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    shape = box_shape(x0, y0, x0 + width, y0 + height)
    yield from _lines(details, image, _Object(points[0].region, shape, list(details.categories), points), part)


def _lines(details: Details, image: CocoImage, drawn: _Object, part: Part) -> Iterator[bytes]:
    """An annotation for each class of an object."""
    region, example = drawn.region, image.example
    keypoints, ids = _keypoints(details, image, drawn.points, part)
    ours = {
        "region": region.get("id"),
        "control": region.get("from_name"),
        "rotation": (region.get("value") or {}).get("rotation") or 0,
        "origin": region.get("origin"),
        "points": ids,
    }
    for label in drawn.labels:
        category = details.categories[label]
        said = {
            "image_id": image.image_id,
            "category_id": category,
            "bbox": drawn.shape.box,
            "segmentation": drawn.shape.segmentation,
            "area": drawn.shape.area,
            "iscrowd": int(CROWD in image.marks.get(str(region.get("id")), ())),
            "keypoints": keypoints,
            "num_keypoints": sum(flag > ABSENT for flag in keypoints[2::3]),
            "labelloop": ours,
        }
        part.object(example, region, label, category, image.file)
        yield orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)[1:]


def _keypoints(
    details: Details, image: CocoImage, points: Sequence[Point], part: Part
) -> tuple[list[float], list[Any]]:
    """(x, y and flag of each name, the id of the region of each), in the order of the classes."""
    keypoints: list[float] = [0] * (3 * len(details.keypoints))
    ids: list[Any] = [None] * len(details.keypoints)
    for point in points:
        control: Control = details.points[str(point.region.get("from_name"))]
        region_id = point.region.get("id")
        labels = labels_of(point.region, control)
        for label in labels:
            if label not in details.keypoints:
                part.skip(image.example.task_id, f"region {region_id}: class {label!r} is not in the label config")
                continue
            at = details.keypoints.index(label)
            if keypoints[3 * at + 2]:
                part.skip(image.example.task_id, f"region {region_id}: its object has another key point {label!r}")
                continue
            hidden = HIDDEN in image.marks.get(str(region_id), ())
            keypoints[3 * at : 3 * at + 3] = [point.x, point.y, UNSEEN if hidden else SEEN]
            ids[at] = region_id
        if not labels:
            part.skip(image.example.task_id, f"region {region_id}: it has no class")
    return keypoints, ids
