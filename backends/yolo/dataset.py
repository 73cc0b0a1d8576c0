"""A labelloop dataset folder as a detector trains on it: reduced images, YOLO label files, a validation part."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.yolo.converters.rectangle_labels import Box, regions_to_boxes
from backends.yolo.images import read_image, reduced
from backends.yolo.preparing import places_of
from labelloop.datasets import Dataset
from labelloop.errors import MediaError
from labelloop.label_config import Control
from labelloop.values import TaskItem
from labelloop.yolo_labels import box_numbers, label_row

VALIDATION_SHARE = 0.15
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledImage:
    """One image of a task with its true boxes; `item` is its place where the task has a list of images."""

    task_id: int
    data: Mapping[str, Any]
    media: Mapping[str, Path]
    boxes: tuple[Box, ...]
    address: str = ""
    item: int | None = None

    @property
    def file(self) -> Path | None:
        return self.media.get(self.address)

    @property
    def name(self) -> str:
        """What tells it from other images of the dataset, fit for a file's name."""
        return str(self.task_id) if self.item is None else f"{self.task_id}-{self.item}"


@dataclass(frozen=True)
class YoloFolder:
    """The files that ultralytics trains on: `data` is what its data.yaml would say, `written` counts the images."""

    data: dict[str, Any]
    written: int
    skipped: tuple[str, ...]


def labelled_images(dataset: Dataset, split: str, control: Control, classes: Sequence[str]) -> list[LabelledImage]:
    """The images that a control labels in the tasks of a split that have a truth label, ordered by task id."""
    out = []
    for task_id, data, result in dataset.truth(split):
        media = dataset.media(task_id, data)
        for place in places_of(TaskItem(task_id, data), [control.data_key]):
            file = media.get(place.address)
            # A rotated rectangle needs the image's proportions; only results without them have to open the file.
            width, height = _size(file) if any("original_width" not in r for r in result) else (1, 1)
            boxes = tuple(regions_to_boxes(result, classes, control.name, width, height, place.item))
            out.append(LabelledImage(task_id, data, media, boxes, place.address, place.item))
    return out


def in_validation_part(group_key: str) -> bool:
    """Whether a group of the training split is kept for choosing thresholds: the same 15% of the groups every time."""
    digest = hashlib.sha256(f"yolo-validation:{group_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < VALIDATION_SHARE


def split_training(
    dataset: Dataset, images: Iterable[LabelledImage]
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """(images to learn from, images to choose thresholds on); with fewer than 20 images none is split off."""
    keys = dict(zip(dataset.tasks["task_id"], dataset.tasks["group_key"], strict=True))
    images = list(images)
    if len(images) < 20:
        return images, []
    held = [in_validation_part(str(keys.get(image.task_id) or image.task_id)) for image in images]
    return (
        [image for image, h in zip(images, held, strict=True) if not h],
        [image for image, h in zip(images, held, strict=True) if h],
    )


def write_yolo_folder(images: Sequence[LabelledImage], classes: Sequence[str], folder: Path, side: int) -> YoloFolder:
    """Write images (longer side `side` pixels, orientation applied) and label files; skips what does not decode."""
    pictures, labels = folder / "images" / "train", folder / "labels" / "train"
    pictures.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    skipped = []
    for image in images:
        try:
            reduced(read_image(image.file), side).save(pictures / f"{image.name}.png", compress_level=1)
        except MediaError as error:
            skipped.append(f"task {image.task_id}: {error}")
            _log.warning("left out of training: %s", skipped[-1])
            continue
        rows = [label_row(box.label, box_numbers((box.x0, box.y0, box.x1, box.y1))) for box in image.boxes]
        (labels / f"{image.name}.txt").write_bytes(b"".join(rows))
    data = {
        "path": str(folder), "train": str(pictures), "val": str(pictures),
        "names": dict(enumerate(classes)), "nc": len(classes), "channels": 3,
    }  # fmt: skip
    return YoloFolder(data, len(images) - len(skipped), tuple(skipped))


def input_size(images: Iterable[LabelledImage], most: int = 640) -> int:
    """The model's square input in pixels: the median longer side of 50 images, as a multiple of 32, 96 to `most`."""
    sides = []
    for image in list(images)[:50]:
        try:
            sides.append(max(_size(image.file)))
        except MediaError:
            continue
    median = sorted(sides)[len(sides) // 2] if sides else most
    return min(max(-(-median // 32) * 32, 96), most)


def _size(media: Path | None) -> tuple[int, int]:
    try:
        return read_image(media).size
    except MediaError:
        return 1, 1
