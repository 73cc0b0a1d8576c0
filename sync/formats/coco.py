"""COCO instances: rectangles (turned ones as their outline) and polygons, one image per task, ids from 1."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from labelloop.collecting import cycles_uncollected
from labelloop.datasets import Dataset
from labelloop.errors import DataError
from labelloop.geometry import Points, bounds, clip_points_to_image, points_area, rectangle_points, upright_box
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from sync.formats.report import Written
from sync.formats.source import ExportOptions, Item, items_of, media_path

FILE = "annotations.json"
SHAPES = {"RectangleLabels": "rectangle", "PolygonLabels": "polygon"}
LOSSES = (
    "annotations of other people than the one that counts as truth",
    "relations, text, ratings and choices",
    "ellipses, brushes, key points and video: each dropped region is named in skipped",
)


@dataclass
class _Document:
    config: LabelConfig
    control_names: frozenset[str]
    category_ids: Mapping[str, int]
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)


@cycles_uncollected()
def write_coco(dataset: Dataset, folder: Path, options: ExportOptions) -> Written:
    """Write annotations.json; DataError when the config has neither rectangles nor polygons with labels."""
    config = dataset.label_config
    controls = [control for control in config.controls if control.tag in SHAPES]
    if not controls:
        raise DataError("COCO needs <RectangleLabels> or <PolygonLabels> in the label config; choose another format")
    names = list(dict.fromkeys(name for control in controls for name in control.classes))
    categories = {name: index for index, name in enumerate(names, start=1)}
    document = _Document(config, frozenset(control.name for control in controls), categories)
    items = list(items_of(dataset))
    files = _file_names(items, controls[0])
    for item in items:
        _add_item(document, item, files[item.task_id], dataset, options)
    content = {
        "info": {"description": f"labelloop dataset {dataset.dataset_id}", "version": dataset.dataset_id},
        "licenses": [],
        "categories": [{"id": index, "name": name, "supercategory": ""} for name, index in categories.items()],
        "images": document.images,
        "annotations": document.annotations,
    }
    (folder / FILE).write_bytes(orjson.dumps(content))
    return Written(
        len(document.images),
        len(document.annotations),
        tuple(document.skipped),
        LOSSES,
        (FILE,),
        {"categories": dict(categories)},
    )


@cycles_uncollected()
def count_coco(folder: Path) -> tuple[int, int]:
    """(images, annotations) as they lie on the disk."""
    content = orjson.loads((folder / FILE).read_bytes())
    return len(content["images"]), len(content["annotations"])


def _file_names(items: list[Item], control: Control) -> dict[int, str]:
    """A file name per task: its base name while that is unique, else its whole path, else below the task id."""
    paths = {item.task_id: media_path(str(item.data.get(control.data_key) or "")) for item in items}
    bases = {task_id: path.rpartition("/")[2] for task_id, path in paths.items()}
    of_base, of_path = Counter(bases.values()), Counter(paths.values())
    names = {}
    for task_id, path in paths.items():
        base = bases[task_id]
        names[task_id] = (
            base if base and of_base[base] == 1 else path if base and of_path[path] == 1 else f"{task_id}/{base}"
        )
    taken = Counter(names.values())
    return {task_id: name if taken[name] == 1 else f"{task_id}/{name}" for task_id, name in names.items()}


def _add_item(document: _Document, item: Item, file_name: str, dataset: Dataset, options: ExportOptions) -> None:
    size = _size_of(item, dataset, options)
    if size is None:
        document.skipped.append(
            (item.task_id, "the image's width and height are not known; pass its size or the media")
        )
        return
    document.images.append(
        {
            "id": item.task_id,
            "file_name": file_name,
            "width": size[0],
            "height": size[1],
            "labelloop": {
                "task": item.task_id,
                "annotation": item.annotation_id,
                "annotator": item.annotator,
                "at": item.at.isoformat(),
                "rev_hash": item.rev_hash,
                "shown_serving_id": item.shown_serving_id,
                "split": item.split,
            },
        }
    )
    for region in item.result:
        _add_region(document, item, region, size)


def _add_region(document: _Document, item: Item, region: Region, size: tuple[int, int]) -> None:
    kind, region_id = region.get("type"), region.get("id")
    value = region.get("value") or {}
    if region.get("from_name") not in document.control_names:
        document.skipped.append((item.task_id, f"region {region_id}: COCO has no place for {kind}"))
        return
    try:
        shape = _shape(value, size)
    except DataError as error:
        document.skipped.append((item.task_id, f"region {region_id}: {error}"))
        return
    if shape["area"] <= 0:
        document.skipped.append((item.task_id, f"region {region_id}: nothing of it is on the image"))
        return
    provenance = _provenance(region, value)
    for label in value.get(str(kind)) or []:
        if label not in document.category_ids:
            document.skipped.append((item.task_id, f"region {region_id}: class {label!r} is not in the label config"))
            continue
        document.annotations.append(
            {
                "id": len(document.annotations) + 1,
                "image_id": item.task_id,
                "category_id": document.category_ids[label],
                **shape,
                "labelloop": provenance,
            }
        )


def _shape(value: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """What COCO says of the part of a region on the image; area 0 when there is none."""
    box = None if "points" in value else upright_box(value, *size)
    if box is not None:
        x0, y0, x1, y1 = box
        corners = [x0, y0, x1, y0, x1, y1, x0, y1]
        area = max(x1 - x0, 0.0) * max(y1 - y0, 0.0)
    else:
        outline = clip_points_to_image(_outline(value, size), *size)
        area = points_area(outline)
        corners = [coordinate for point in outline for coordinate in point]
        x0, y0, x1, y1 = bounds(outline) if outline else (0.0, 0.0, 0.0, 0.0)
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": [corners], "area": area, "iscrowd": 0}


def _provenance(region: Region, value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "region": region.get("id"),
        "control": region.get("from_name"),
        "rotation": float(value.get("rotation") or 0.0),
        "origin": region.get("origin"),
    }


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


def _size_of(item: Item, dataset: Dataset, options: ExportOptions) -> tuple[int, int] | None:
    """(width, height) in pixels: what the label carries, else what was passed, else the image file's."""
    for region in item.result:
        width, height = region.get("original_width"), region.get("original_height")
        if _is_size(width) and _is_size(height):
            return int(width), int(height)  # type: ignore[arg-type]
    if options.sizes and item.task_id in options.sizes:
        return options.sizes[item.task_id]
    for file in dataset.media(item.task_id, item.data).values():
        return _image_size(file)
    return None


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 1


def _image_size(path: Path) -> tuple[int, int] | None:
    """The size as a browser shows it: with the turn that the file's EXIF data asks for."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = image.size
    except (OSError, UnidentifiedImageError):
        return None
    return (height, width) if turned else (width, height)
