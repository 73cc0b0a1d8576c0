"""Tasks made ready for networks, which needs no network: images read, fitted, cut into tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.yolo.images import read_fitted, read_image
from backends.yolo.model_spec import ModelSpec
from backends.yolo.views import View, centre_square, views_of
from labelloop.errors import MediaError
from labelloop.values import TaskItem


@dataclass(frozen=True)
class Inputs:
    """What a network takes of one image of `size` (width, height): views and the pixels of each (n, side, side, 3)."""

    size: tuple[int, int]
    views: tuple[View, ...]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class ImagePlace:
    """One image of a task: the data key that names it, its place where that names a list, and its address."""

    data_key: str
    item: int | None
    address: str


@dataclass(frozen=True)
class PreparedTask(TaskItem):
    """A task with what each network (by kind) takes of each of its images, or why an image cannot be read."""

    inputs: Mapping[ImagePlace, Mapping[str, Inputs] | MediaError] = field(default_factory=dict)


def places_of(task: TaskItem, data_keys: Iterable[str]) -> list[ImagePlace]:
    """The images that a task names under these keys, in order."""
    places = []
    for key in data_keys:
        value = task.data.get(key)
        listed = isinstance(value, list)
        for number, address in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(address, str) and address:
                places.append(ImagePlace(key, number if listed else None, address))
    return places


def prepared(task: TaskItem, networks: Mapping[str, Sequence[ModelSpec]]) -> PreparedTask:
    """The task with its images read for the networks that look at them, by data key."""
    inputs: dict[ImagePlace, Mapping[str, Inputs] | MediaError] = {}
    for place in places_of(task, networks):
        try:
            inputs[place] = _inputs(_file(task, place), networks[place.data_key])
        except MediaError as error:
            inputs[place] = error
    known: dict[str, Any] = {each.name: getattr(task, each.name) for each in fields(TaskItem)}
    return PreparedTask(**known, inputs=inputs)


def _file(task: TaskItem, place: ImagePlace) -> Path:
    media = task.media.get(place.address)
    if isinstance(media, MediaError):
        raise media
    if media is None:
        raise MediaError("not_found", f"the image under {place.data_key!r} was not fetched")
    return media


def _inputs(file: Path, specs: Sequence[ModelSpec]) -> dict[str, Inputs]:
    """What each of these networks takes of an image, by kind.

    The file is decoded reduced where one input size serves them all and none looks at more than that.
    """
    sides = {spec.image_size for spec in specs}
    if len(sides) == 1 and not any(spec.options.tile or spec.kind == "classify" for spec in specs):
        side = sides.pop()
        fitted = read_fitted(file, side)
        size = fitted.width, fitted.height
        whole = Inputs(size, tuple(views_of(*size, side)), fitted.pixels[None])
        return {spec.kind: whole for spec in specs}
    image = read_image(file)
    found = {}
    for spec in specs:
        if spec.kind == "classify":
            found[spec.kind] = Inputs(image.size, (), centre_square(image, spec.image_size)[None])
        else:
            views = views_of(*image.size, spec.image_size, spec.options.tile, spec.options.tile_overlap)
            found[spec.kind] = Inputs(image.size, tuple(views), np.stack([view.pixels(image) for view in views]))
    return found
