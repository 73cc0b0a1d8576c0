"""COCO: annotations/instances_<split>.json and, where images are copied, images/<split>/; ids from 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from labelloop.errors import DataError
from labelloop.geometry import Points, bounds, clip_points_to_image, points_area, rectangle_points, upright_box
from labelloop.label_config import Control
from labelloop.values import Region
from sync.formats.examples import SPLITS, Example, Picture, image_keys, labels_of
from sync.formats.format import Format, Joined, Part, PartDone, Plan, fragments

SHAPES = {"RectangleLabels": "rectangle", "PolygonLabels": "polygon"}
#: Pages of one task, where tasks have several images; the image's id is the task's times this, and the page.
_PAGES = 1024
FILES = {split: f"annotations/instances_{split}.json" for split in SPLITS}


@dataclass(frozen=True)
class Details:
    """What is written: the controls by name, and the category of each class."""

    controls: Mapping[str, Control]
    categories: Mapping[str, int]
    paged: bool
    files: Mapping[str, str]


def plan_coco(plan: Plan) -> Details:
    """The controls with shapes; DataError when there are none."""
    controls = [control for control in plan.config.controls if control.tag in SHAPES and control.object_tag == "Image"]
    if not controls:
        raise DataError("COCO needs <RectangleLabels> or <PolygonLabels> in the label config; choose another format")
    keys = image_keys(plan.config)
    categories = {name: index for index, name in enumerate(plan.class_names(*controls), start=1)}
    return Details({control.name: control for control in controls}, categories, len(keys) > 1 or keys[0].listed, FILES)


def write_coco(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """Fragments of each split: a line per image, and a line per annotation without its id."""
    details: Details = plan.details
    for example in examples:
        for picture in example.pictures:
            size = part.size_of(example, picture)
            if size is None:
                continue
            image_id = example.task_id * _PAGES + picture.index if details.paged else example.task_id
            if plan.options.images:
                part.copy_image(picture, f"images/{example.split}/{picture.name}", example.task_id)
            images = part.fragment(f"images-{example.split}")
            images.write(_image_line(example, picture, image_id, size))
            part.item(example.split)
            annotations = part.fragment(f"annotations-{example.split}")
            for region in example.regions_on(picture):
                _write_region(details, example, region, image_id, size, annotations, part)


def _image_line(example: Example, picture: Picture, image_id: int, size: tuple[int, int]) -> bytes:
    image = {
        "id": image_id,
        "file_name": picture.file_name,
        "width": size[0],
        "height": size[1],
        "labelloop": {
            "task": example.task_id,
            "annotation": example.annotation_id,
            "annotator": example.annotator,
            "at": example.at.isoformat(),
            "source": example.source,
            "review_status": example.review_status,
            "version": example.shown_serving_id,
        },
    }
    return orjson.dumps(image) + b"\n"


def _write_region(
    details: Details,
    example: Example,
    region: Region,
    image_id: int,
    size: tuple[int, int],
    annotations: IO[bytes],
    part: Part,
) -> None:
    control = details.controls.get(region.get("from_name") or "")
    if control is None:
        part.skip(example.task_id, f"region {region.get('id')}: COCO has no place for {region.get('type')}")
        return
    value = region.get("value") or {}
    try:
        bbox, corners, area = _shape(value, size)
    except DataError as error:
        part.skip(example.task_id, f"region {region.get('id')}: {error}")
        return
    if area <= 0:
        part.skip(example.task_id, f"region {region.get('id')}: nothing of it is on the image")
        return
    for label in labels_of(region, control):
        category = details.categories.get(label)
        if category is None:
            part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")
            continue
        said = {
            "image_id": image_id,
            "category_id": category,
            "bbox": bbox,
            "segmentation": [corners],
            "area": area,
            "iscrowd": 0,
            "labelloop": {
                "region": region.get("id"),
                "control": control.name,
                "rotation": value.get("rotation") or 0,
                "origin": region.get("origin"),
            },
        }
        annotations.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)[1:])
        part.object(example, region, label, category, details.files[example.split])


def _shape(value: Mapping[str, Any], size: tuple[int, int]) -> tuple[list[float], list[float], float]:
    """(bbox, outline, area) of the part of a region on the image; area 0 when there is none."""
    box = None if "points" in value else upright_box(value, *size)
    if box is not None:
        x0, y0, x1, y1 = box
        area = (x1 - x0) * (y1 - y0) if x0 < x1 and y0 < y1 else 0.0
        return [x0, y0, x1 - x0, y1 - y0], [x0, y0, x1, y0, x1, y1, x0, y1], area
    outline = clip_points_to_image(_outline(value, size), *size)
    if not outline:
        return [], [], 0.0
    x0, y0, x1, y1 = bounds(outline)
    return [x0, y0, x1 - x0, y1 - y0], [at for point in outline for at in point], points_area(outline)


def _outline(value: Mapping[str, Any], size: tuple[int, int]) -> Points:
    """Corners in pixels of a rectangle or a polygon."""
    if "points" not in value:
        return rectangle_points(value, *size)
    across, down = size[0] / 100, size[1] / 100
    try:
        points = [(float(x) * across, float(y) * down) for x, y in value["points"]]
    except (TypeError, ValueError) as error:
        raise DataError("expected a list of [x, y] in points") from error
    if len(points) < 3 or not all(math.isfinite(x + y) for x, y in points):
        raise DataError(f"expected three finite points or more, got {len(points)}")
    return points


def join_coco(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """One file per split that has images; annotation ids from 1 in each."""
    details: Details = plan.details
    head = orjson.dumps(
        {
            "info": {"description": "written by labelloop; manifest.json names the dataset version"},
            "licenses": [],
            "categories": [{"id": i, "name": name, "supercategory": ""} for name, i in details.categories.items()],
        }
    )
    files = []
    (folder / "annotations").mkdir()
    for split in SPLITS:
        if not any(part.items.get(split) for part in parts):
            continue
        files.append(FILES[split])
        with (folder / files[-1]).open("wb", buffering=1 << 20) as file:
            file.write(head[:-1] + b',\n"images":[\n')
            _join_lines(fragments(scratch, f"images-{split}", parts), file)
            file.write(b'],\n"annotations":[\n')
            _join_numbered(fragments(scratch, f"annotations-{split}", parts), file)
            file.write(b"]}\n")
    return Joined(tuple(files), {"categories": dict(details.categories)})


def _join_lines(pieces: Iterable[Path], file: IO[bytes]) -> None:
    """Lines of the pieces as members of a JSON list."""
    first = True
    for piece in pieces:
        lines = piece.read_bytes()
        file.write((b"" if first else b",") + lines[:-1].replace(b"\n", b",\n") + b"\n")
        first = False


def _join_numbered(pieces: Iterable[Path], file: IO[bytes]) -> None:
    """The same, each line with its id in front."""
    number = 0
    for piece in pieces:
        with piece.open("rb") as lines:
            for line in lines:
                number += 1
                file.write((b'{"id":%d,%b' if number == 1 else b',{"id":%d,%b') % (number, line))


def count_coco(plan: Plan, folder: Path) -> tuple[int, int]:
    """(images, annotations) as they lie on the disk: each has a line of its own."""
    images = annotations = 0
    for path in sorted((folder / "annotations").glob("instances_*.json")):
        with path.open("rb") as file:
            among_images = True
            for line in file:
                if line.startswith(b"],"):
                    among_images = False
                elif line.startswith((b'{"id":', b',{"id":')):
                    images += among_images
                    annotations += not among_images
    return images, annotations


def losses_of_coco(plan: Plan) -> tuple[str, ...]:
    """What COCO cannot say."""
    return (
        "annotations of other people than the one that counts as truth",
        "relations, text, ratings and choices",
        "ellipses, brushes, key points and video: each dropped region is named in skipped",
    )


FORMAT = Format("coco", (), plan_coco, write_coco, join_coco, count_coco, losses_of_coco)
