"""YOLO in five tasks: data.yaml, labels/<split>/ with a file per image, and for classify folders of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from labelloop.errors import DataError
from labelloop.values import Region
from sync.formats.examples import SPLITS, Example, Picture, labels_of, no_place_for
from sync.formats.format import Format, Joined, Part, PartDone, Plan, join_fragments, small_file
from sync.formats.yolo_places import (
    DATA,
    LABELS,
    class_folder,
    data_yaml,
    image_name,
    list_file,
    place_image,
    placing_told,
)
from sync.formats.yolo_plan import TASKS, Details, losses_of_yolo, plan_yolo
from sync.formats.yolo_pose import pose_rows
from sync.formats.yolo_rows import shape_rows


def write_yolo(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """A label file for each image, or the image in the folder of its class."""
    details: Details = plan.details
    write_one = _write_class if details.task == "classify" else _write_labels
    for example in examples:
        if not example.pictures:
            part.skip(example.task_id, "its data names no image")
        for picture in example.pictures:
            try:
                name = image_name(picture)
            except DataError as error:
                part.skip(example.task_id, str(error))
                continue
            write_one(plan, example, picture, name, part)
        for region in example.strays():
            if region.get("type") != "relation" or details.task != "pose":
                part.skip(example.task_id, no_place_for(region, "YOLO"))


def _write_labels(plan: Plan, example: Example, picture: Picture, name: str, part: Part) -> None:
    details: Details = plan.details
    split = example.split
    file = f"{LABELS}/{split}/{name[: name.rindex('.')]}.txt"
    rows_of = pose_rows if details.task == "pose" else shape_rows
    written: dict[bytes, tuple[Region, str, int]] = {}
    for row, region, label, class_id in rows_of(details, example, picture, part):
        if row in written:
            part.skip(example.task_id, f"region {region.get('id')}: another region has the same row")
        else:
            written[row] = region, label, class_id
    part.several(example, list(written.values()), file, 1)
    part.write(file, b"".join(written))
    part.item(split)
    place_image(details, plan.options, example, picture, FORMAT.place(split, name), part)


def _write_class(plan: Plan, example: Example, picture: Picture, name: str, part: Part) -> None:
    """The image in the folder of its one choice."""
    details: Details = plan.details
    control = details.choices
    chosen: dict[str, Region] = {}
    for region in example.regions_on(picture):
        if control is None or region.get("from_name") != control.name:
            part.skip(example.task_id, no_place_for(region, "YOLO classify"))
        elif isinstance(region.get("value"), dict):
            chosen |= dict.fromkeys(labels_of(region, control), region)
    if len(chosen) != 1:
        said = f"the choices {list(chosen)}; a folder holds images of one" if chosen else "no choice, so no folder"
        part.skip(example.task_id, f"{picture.name}: it has {said}")
        return
    ((label, region),) = chosen.items()
    class_id = details.classes.get(label)
    if class_id is None:
        part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")
        return
    file = f"{example.split}/{class_folder(label)}/{name}"
    if place_image(details, plan.options, example, picture, file, part):
        part.item(example.split)
        part.object(example, region, label, class_id, file, 1)


def join_yolo(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """data.yaml, and the lists of images where they are elsewhere."""
    details: Details = plan.details
    there = [split for split in SPLITS if any(part.items.get(split) for part in parts)]
    hashes = {}
    (folder / DATA).write_bytes(data_yaml(details, there))
    for split in there:
        if details.task == "classify":
            # Trainers number the classes of each split by its own folders.
            for name in details.classes:
                (folder / split / class_folder(name)).mkdir(parents=True, exist_ok=True)
        elif details.placing == "listed":
            hashes[list_file(split)] = join_fragments(folder, scratch, list_file(split), parts)
    told = {"classes": details.classes, "images": placing_told(details)}
    points = {"keypoints": list(details.keypoints)} if details.keypoints else {}
    return Joined((DATA, *hashes), told | points, hashes)


def count_yolo(plan: Plan, folder: Path) -> tuple[int, int]:
    """(label files, rows in them), or of classify the images twice, as they lie on the disk."""
    if plan.task == "classify":
        images = sum(1 for split in SPLITS for _ in _files(folder / split))
        return images, images
    items = rows = 0
    for path in _files(folder / LABELS):
        items += 1
        rows += small_file(path).count(b"\n")
    return items, rows


def _files(folder: Path) -> Iterator[str]:
    """Every file and link below a folder that may not be there."""
    left = [str(folder)] if folder.is_dir() else []
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                else:
                    yield entry.path


FORMAT = Format("yolo", TASKS, plan_yolo, write_yolo, join_yolo, count_yolo, losses_of_yolo)
