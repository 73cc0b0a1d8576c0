"""Predicts rectangles for image tasks with one trained version."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from backends.version_labels import read_labels
from backends.yolo.converters.rectangle_labels import REGION_TYPE, Box, boxes_to_regions
from backends.yolo.engine import Detections, detect, load_model
from backends.yolo.images import letterbox, read_image
from backends.yolo.uncertainty import detection_doubt, image_uncertainty
from labelloop.errors import DataError, MediaError
from labelloop.values import Outcome, TaskItem

BATCH = 32
_log = logging.getLogger(__name__)


class YoloBackend:
    """A loaded version; `predict` may be called from several threads, torch's inference is."""

    def __init__(self, version_dir: Path, *, device: str = "cpu") -> None:
        (self._labels,) = read_labels(version_dir, REGION_TYPE)
        self._model, self._spec = load_model(version_dir / "model", device)
        self._device = device
        if self._labels.classes != self._spec.classes:
            raise DataError(f"{version_dir}: labels.json and model/model.json name different classes; train again")

    @property
    def classes(self) -> tuple[str, ...]:
        return self._spec.classes

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        """One outcome per task, in order; `want` may add "probs" (a class's highest score) and "embedding"."""
        outcomes: list[Outcome] = []
        for start in range(0, len(tasks), BATCH):
            outcomes.extend(self._predict_batch(tasks[start : start + BATCH], want))
        return outcomes

    def _predict_batch(self, tasks: Sequence[TaskItem], want: frozenset[str]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(tasks)
        images: dict[int, Image.Image] = {}
        for index, task in enumerate(tasks):
            try:
                images[index] = read_image(next(iter(task.media.values()), None))
            except MediaError as error:
                outcomes[index] = Outcome(status=error.reason, detail=str(error))
        for index, result in self._detected(images):
            outcomes[index] = (
                self._outcome(images[index], result, want)
                if isinstance(result, Detections)
                else Outcome(status="error", detail=f"the model failed on this image: {result}")
            )
        return [outcome or Outcome(status="error", detail="the model gave no result") for outcome in outcomes]

    def _detected(self, images: Mapping[int, Image.Image]) -> Iterator[tuple[int, Detections | Exception]]:
        """Detections of each image: all in one pass, or one by one when that pass fails."""
        if not images:
            return
        pixels = {i: letterbox(image, self._spec.image_size)[0] for i, image in images.items()}
        try:
            yield from zip(pixels, detect(self._model, np.stack(list(pixels.values())), self._device), strict=True)
            return
        except Exception as error:
            _log.warning("a batch of %d images failed, taking them one by one: %s", len(images), error)
        for index, array in pixels.items():
            try:
                yield index, detect(self._model, array[None], self._device)[0]
            except Exception as error:
                yield index, error

    def _outcome(self, image: Image.Image, found: Detections, want: frozenset[str]) -> Outcome:
        boxes = detected_boxes(found, image, self._spec.image_size)
        runner_up = [float(np.partition(s, -2)[-2]) if len(s) > 1 else 0.0 for s in found.class_scores]
        least = [self._labels.show_threshold[name] for name in self.classes]
        shown = [b.score for b in boxes if b.score is not None and b.score >= least[b.label]]
        doubts = [detection_doubt(b.score or 0.0, second) for b, second in zip(boxes, runner_up, strict=True)]
        regions = boxes_to_regions(
            boxes, self.classes, self._labels.control, self._labels.to_name, image.width, image.height
        )
        highest = found.class_scores.max(axis=0, initial=0.0)
        return Outcome(
            regions=regions,
            confidence=float(np.mean(shown)) if shown else None,
            uncertainty=image_uncertainty(doubts),
            probs=dict(zip(self.classes, map(float, highest), strict=True)) if "probs" in want else None,
            embedding=tuple(map(float, found.features)) if "embedding" in want else None,
        )


def detected_boxes(found: Detections, image: Image.Image, side: int) -> list[Box]:
    """Detections in input pixels as boxes in fractions of the original image."""
    scale = side / max(image.size)
    left = (side - max(1, round(image.width * scale))) // 2
    top = (side - max(1, round(image.height * scale))) // 2
    corners = (found.boxes - np.array([left, top, left, top])) / scale
    corners = corners / np.array([image.width, image.height, image.width, image.height])
    return [
        Box(int(scores.argmax()), float(x0), float(y0), float(x1), float(y1), float(scores.max()))
        for (x0, y0, x1, y1), scores in zip(corners, found.class_scores, strict=True)
    ]
