"""What every kind of network has in common for its training: what is true of an image, and how answers are held against it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backends.version_labels import ControlLabels
from backends.yolo.model_spec import ControlUse
from labelloop.label_config import Control
from labelloop.values import Region

Floats = NDArray[np.float64]
Size = tuple[int, int]


@dataclass(frozen=True)
class LabelledImage:
    """One image of a task with what is true of it; `item` is its place where the task has a list of images.

    `size` is its width and height in pixels, as far as the label or the file tells.
    """

    task_id: int
    data: Mapping[str, Any]
    media: Mapping[str, Path]
    objects: tuple[Any, ...]
    address: str = ""
    item: int | None = None
    size: Size = (1, 1)

    @property
    def file(self) -> Path | None:
        return self.media.get(self.address)

    @property
    def name(self) -> str:
        """What tells it from other images of the dataset, fit for a file's name."""
        return str(self.task_id) if self.item is None else f"{self.task_id}-{self.item}"


class Lesson(ABC):
    """What one network learns from one control. Objects are in fractions of the image (0..1, y downwards)."""

    kind: ClassVar[str]
    architecture: ClassVar[str]
    #: What people draw or choose, for messages.
    thing: ClassVar[str]
    metric: ClassVar[str] = "mAP50"
    #: Whether an image without any object is an example of background; otherwise it is not labelled.
    has_background: ClassVar[bool] = True
    #: Pixels of the network's square input: the least and the most that it gets by itself.
    input_bounds: ClassVar[tuple[int, int]] = (96, 640)
    #: Overlap from which an answer hits a truth.
    least_overlap: ClassVar[float] = 0.5
    point_shape: tuple[int, int] | None = None

    def __init__(self, control: Control) -> None:
        self.control = control

    @property
    def classes(self) -> tuple[str, ...]:
        """The network's classes."""
        return self.control.classes

    @property
    def controls(self) -> tuple[Control, ...]:
        """The controls that the network answers for."""
        return (self.control,)

    def uses(self) -> tuple[ControlUse, ...]:
        """How those take its answers."""
        return (ControlUse(self.control.name, {name: name for name in self.classes}),)

    @abstractmethod
    def objects(self, result: Sequence[Region], size: Size, item: int | None) -> list[Any]:
        """What a label's regions say of one image. What has no place on it or no known class is left out."""

    def answered(self, regions: Sequence[Region], image: LabelledImage) -> list[Any]:
        """What a model's regions say of an image; read as a label's."""
        return self.objects(regions, image.size, image.item)

    @abstractmethod
    def row(self, thing: Any) -> bytes:
        """An object's line of a label file of ultralytics."""

    @abstractmethod
    def overlap(self, answers: Sequence[Any], truths: Sequence[Any], size: Size) -> Floats:
        """How far each answer and each truth are the same, whatever their classes, 0..1: (answers, truths)."""

    @abstractmethod
    def naive(self, images: Iterable[LabelledImage]) -> list[Any]:
        """What a model that learned nothing useful from these images answers for every image."""

    def lacks(self, images: Sequence[LabelledImage]) -> str | None:
        """What is missing for a training, in words; None when it can begin."""
        return None if any(image.objects for image in images) else f"no {self.thing} is labelled"

    def data(self) -> dict[str, Any]:
        """What ultralytics has to know of the dataset beside its classes."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Arguments of the training that this kind sets otherwise."""
        return {}

    def labels(self, thresholds: Mapping[str, float]) -> list[ControlLabels]:
        """The controls as a version tells them, with the show threshold of each class of the network."""
        return [labels_of(self.control, thresholds)]

    def thresholds(self, controls: Mapping[str, ControlLabels]) -> list[float]:
        """The show threshold of each class of the network in a version; 1.0 where the version does not know one."""
        own = controls.get(self.control.name)
        return [own.show_threshold.get(name, 1.0) if own else 1.0 for name in self.classes]


def labels_of(control: Control, thresholds: Mapping[str, float]) -> ControlLabels:
    """A control as a version tells it."""
    return ControlLabels(
        control.name, control.to_name, control.data_key, control.region_type, control.classes, dict(thresholds)
    )


def own_regions(result: Iterable[Region], control: Control, item: int | None) -> list[Region]:
    """The regions of a control on one image of a task, by its place where the task has several."""
    return [
        region
        for region in result
        if region.get("from_name") == control.name
        and region.get("type") == control.region_type
        and isinstance(region.get("value"), Mapping)
        and (item is None or region.get("item_index", 0) == item)
    ]


def labels_in(region: Region, control: Control) -> list[int]:
    """The places of a region's classes among the control's, each once."""
    said = region["value"].get(control.value_key)
    names = [name for name in said if isinstance(name, str)] if isinstance(said, list) else []
    return [control.classes.index(name) for name in dict.fromkeys(names) if name in control.classes]


def size_in(region: Region, size: Size) -> Size:
    """The size of the image that a region was drawn on, as it tells itself, else `size`."""
    width, height = region.get("original_width"), region.get("original_height")
    return (int(width), int(height)) if width and height else size


def commonest(objects: Sequence[Any]) -> int:
    """The most frequent class, the first among equals."""
    labels = [int(each.label) for each in objects]
    return max(sorted(set(labels)), key=labels.count)
