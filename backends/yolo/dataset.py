"""A labelloop dataset folder as a network trains on it: reduced images, label files, a validation part."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from backends.yolo.images import read_image, reduced
from backends.yolo.learning.lesson import LabelledImage, Lesson, Size
from backends.yolo.preparing import places_of
from backends.yolo.views import centre_square
from labelloop.datasets import Dataset
from labelloop.errors import MediaError
from labelloop.values import Region, TaskItem

VALIDATION_SHARE = 0.15
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class YoloFolder:
    """The files that ultralytics trains on: `data` is what its data.yaml would say, `images` those that were written."""

    data: dict[str, Any]
    images: tuple[Path, ...]
    skipped: tuple[str, ...]


def labelled_images(dataset: Dataset, split: str, lesson: Lesson) -> list[LabelledImage]:
    """The images that a lesson is about in the tasks of a split that have a truth label, ordered by task id."""
    out = []
    for task_id, data, result in dataset.truth(split):
        media = dataset.media(task_id, data)
        for place in places_of(TaskItem(task_id, data), [lesson.control.data_key]):
            size = _told_size(result, place.item) or _size(media.get(place.address))
            objects = tuple(lesson.objects(result, size, place.item))
            if objects or lesson.has_background:
                out.append(LabelledImage(task_id, data, media, objects, place.address, place.item, size))
    return out


def in_validation_part(group_key: str) -> bool:
    """Whether a group of the training split is kept for choosing thresholds: the same 15% of the groups every time."""
    digest = hashlib.sha256(f"yolo-validation:{group_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < VALIDATION_SHARE


def split_training(
    dataset: Dataset, images: Iterable[LabelledImage]
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """(images to learn from, images to judge epochs and choose thresholds on); of fewer than 20 images none is split off."""
    keys = dict(zip(dataset.tasks["task_id"], dataset.tasks["group_key"], strict=True))
    images = list(images)
    if len(images) < 20:
        return images, []
    held = [in_validation_part(str(keys.get(image.task_id) or image.task_id)) for image in images]
    return (
        [image for image, h in zip(images, held, strict=True) if not h],
        [image for image, h in zip(images, held, strict=True) if h],
    )


def write_yolo_folder(images: Sequence[LabelledImage], lesson: Lesson, folder: Path, side: int) -> YoloFolder:
    """Write images (orientation applied) and labels as ultralytics reads them; skips what does not decode.

    An image has a longer side of `side` pixels and a label file beside it. For a classifier it is the square that the
    network will see, in a folder of its class.
    """
    pictures, labels = folder / "images" / "train", folder / "labels" / "train"
    written, skipped = [], []
    for image in images:
        try:
            picture = read_image(image.file)
        except MediaError as error:
            skipped.append(f"task {image.task_id}: {error}")
            _log.warning("left out of training: %s", skipped[-1])
            continue
        if lesson.kind == "classify":
            place = pictures / class_folder(image.objects[0].label)
            picture = Image.fromarray(centre_square(picture, side))
        else:
            place = pictures
            picture = reduced(picture, side)
            labels.mkdir(parents=True, exist_ok=True)
            (labels / f"{image.name}.txt").write_bytes(b"".join(map(lesson.row, image.objects)))
        place.mkdir(parents=True, exist_ok=True)
        written.append(place / f"{image.name}.png")
        picture.save(written[-1], compress_level=1)
    names = [class_folder(label) for label in range(len(lesson.classes))]
    data = {
        "path": str(folder), "train": str(pictures), "val": str(pictures),
        "names": dict(enumerate(names if lesson.kind == "classify" else lesson.classes)),
        "nc": len(names), "channels": 3, **lesson.data(),
    }  # fmt: skip
    return YoloFolder(data, tuple(sorted(written)), tuple(skipped))


def class_folder(label: int) -> str:
    """The folder of a classifier's images of one class; names of classes may have what folders can't."""
    return f"class-{label:05d}"


def input_size(images: Iterable[LabelledImage], lesson: Lesson) -> int:
    """The network's square input in pixels: the median of 50 images' sides, as a multiple of 32 within the lesson's bounds.

    That is the longer side, for a classifier the shorter one.
    """
    least, most = lesson.input_bounds
    sides = []
    for image in list(images)[:50]:
        try:
            sides.append((min if lesson.kind == "classify" else max)(read_image(image.file).size))
        except MediaError:
            continue
    median = sorted(sides)[len(sides) // 2] if sides else most
    return min(max(-(-median // 32) * 32, least), most)


def _told_size(result: Sequence[Region], item: int | None) -> Size | None:
    """The size of an image, as its regions tell it."""
    for region in result:
        width, height = region.get("original_width"), region.get("original_height")
        if width and height and (item is None or region.get("item_index", 0) == item):
            return int(width), int(height)
    return None


def _size(media: Path | None) -> Size:
    try:
        return read_image(media).size
    except MediaError:
        return 1, 1
