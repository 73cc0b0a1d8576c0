"""COCO: annotations/instances_<split>.json and, where images are copied, images/<split>/; ids from 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from labelloop.errors import DataError
from labelloop.geometry import upright_box
from labelloop.values import Region
from sync.formats.coco_plan import TASKS, CocoImage, Details, losses_of_coco, plan_coco
from sync.formats.coco_poses import lost_relations, pose_lines
from sync.formats.coco_shapes import box_shape, coco_shape
from sync.formats.examples import SPLITS, Example, Picture, labels_of, no_place_for
from sync.formats.flags import CROWD, marks_of
from sync.formats.format import Format, Joined, Part, PartDone, Plan, fragments
from sync.formats.shapes import KINDS, is_drawn_twice

_BOXES = "RectangleLabels"
#: Pages of one task, where tasks have several images; the image's id is the task's times this, and the page.
_PAGES = 1024
_FILES = {split: f"annotations/instances_{split}.json" for split in SPLITS}


def write_coco(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """Fragments of each split: a line per image, and a line per annotation without its id."""
    details: Details = plan.details
    lines_of = pose_lines if details.task == "pose" else _object_lines
    for example in examples:
        split, marks = example.split, marks_of(example.result, details.flags)
        if not example.pictures:
            part.skip(example.task_id, "its data names no image")
            continue
        for page, picture in enumerate(example.pictures):
            if page >= _PAGES:
                part.skip(example.task_id, f"{picture.file_name}: COCO takes {_PAGES} images of a task at most")
                continue
            size = part.size_of(example, picture)
            if size is None and example.regions_on(picture):
                # Without its objects it would pass for an image of which people said that it has none.
                continue
            image_id = example.task_id * _PAGES + page if details.paged else example.task_id
            if plan.options.images:
                part.copy_image(picture, FORMAT.place(split, picture.name), example.task_id)
            part.fragment(f"images-{split}").write(_image_line(example, picture, image_id, size))
            part.item(split)
            if size is None:
                continue
            lines = lines_of(details, CocoImage(example, picture, image_id, size, marks, _FILES[split]), part)
            if lines:
                part.fragment(f"annotations-{split}").write(b"".join(lines))
        for region in _lost(details, example):
            part.skip(example.task_id, no_place_for(region, "COCO"))


def _lost(details: Details, example: Example) -> Iterator[Region]:
    """Regions on no image of the task, and relations that say nothing in the files."""
    for region in example.strays():
        if region.get("type") != "relation":
            yield region
    if details.task == "pose":
        yield from lost_relations(details, example)
    else:
        yield from (region for region in example.result if region.get("type") == "relation")


def _image_line(example: Example, picture: Picture, image_id: int, size: tuple[int, int] | None) -> bytes:
    said = {
        "id": image_id,
        "file_name": picture.file_name,
        **({"width": size[0], "height": size[1]} if size is not None else {}),
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
    return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)


def _object_lines(details: Details, image: CocoImage, part: Part) -> list[bytes]:
    """The annotations of one image without key points."""
    example, size, marks, image_id = image.example, image.size, image.marks, image.image_id
    width, height = size
    controls, categories, boxed = details.shapes, details.categories, details.task == "detect"
    dumps = orjson.dumps
    lines: list[bytes] = []
    told: list[tuple[Region, str, int]] = []
    for region in example.regions_on(image.picture):
        name, value = region.get("from_name"), region.get("value")
        control = controls.get(name) if isinstance(name, str) else None
        if control is None:
            kept = str(name) in details.flags or region.get("type") == "relation"
            if not kept and not is_drawn_twice(region, example.result, controls):
                part.skip(example.task_id, no_place_for(region, "COCO"))
            continue
        box = upright_box(value, width, height) if control.tag == _BOXES and isinstance(value, dict) else None
        if box is not None and box[0] < box[2] and box[1] < box[3]:
            # An upright box in plain sight is nearly every region there is: it takes the short way.
            bbox, segmentation, area = box_shape(*box)
        else:
            try:
                bbox, segmentation, area = coco_shape(KINDS[control.tag], region, size, boxed)
            except DataError as error:
                part.skip(example.task_id, f"region {region.get('id')}: {error}")
                continue
        labels = labels_of(region, control)
        for label in labels if len(labels) == 1 else dict.fromkeys(labels):
            category = categories.get(label)
            if category is None:
                part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")
                continue
            said = {
                "image_id": image_id,
                "category_id": category,
                "bbox": bbox,
                "segmentation": segmentation,
                "area": area,
                "iscrowd": 1 if marks and CROWD in marks.get(str(region.get("id")), ()) else 0,
                "labelloop": {
                    "region": region.get("id"),
                    "control": name,
                    "rotation": region["value"].get("rotation") or 0,
                    "origin": region.get("origin"),
                },
            }
            lines.append(dumps(said, option=orjson.OPT_APPEND_NEWLINE)[1:])
            told.append((region, label, category))
        if not labels:
            part.skip(example.task_id, f"region {region.get('id')}: it has no class")
    part.several(example, told, image.file)
    return lines


def join_coco(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """One file per split that has images; annotation ids from 1 in each."""
    details: Details = plan.details
    head = orjson.dumps(
        {
            "info": {"description": "written by labelloop; manifest.json names the dataset version"},
            "licenses": [],
            "categories": _categories(details),
        }
    )
    files = []
    (folder / "annotations").mkdir()
    for split, name in _FILES.items():
        if not any(part.items.get(split) for part in parts):
            continue
        files.append(name)
        with (folder / name).open("wb", buffering=1 << 20) as file:
            file.write(head[:-1] + b',\n"images":[\n')
            _join_lines(fragments(scratch, f"images-{split}", parts), file)
            file.write(b'],\n"annotations":[\n')
            _join_numbered(fragments(scratch, f"annotations-{split}", parts), file)
            file.write(b"]}\n")
    return Joined(tuple(files), {"categories": dict(details.categories)})


def _categories(details: Details) -> list[dict[str, Any]]:
    points = {"keypoints": details.keypoints, "skeleton": details.skeleton} if details.task == "pose" else {}
    return [{"id": number, "name": name, "supercategory": "", **points} for name, number in details.categories.items()]


def _join_lines(pieces: Iterable[Path], file: IO[bytes]) -> None:
    """Lines of the pieces as members of a JSON list."""
    first = True
    for piece in pieces:
        lines = piece.read_bytes()
        file.write((b"" if first else b",") + lines[:-1].replace(b"\n", b",\n") + b"\n")
        first = False


def _join_numbered(pieces: Iterable[Path], file: IO[bytes]) -> None:
    """The same, each line with its id in front, from 1."""
    written = 0
    for piece in pieces:
        lines = piece.read_bytes().splitlines(keepends=True)
        text = b"".join([b',{"id":%d,%b' % pair for pair in enumerate(lines, start=written + 1)])
        file.write(text if written else text[1:])
        written += len(lines)


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


FORMAT = Format("coco", TASKS, plan_coco, write_coco, join_coco, count_coco, losses_of_coco)
