"""Choices about an image, one at a time: a network learns the class of the whole image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.yolo.learning.lesson import Floats, LabelledImage, Lesson, Size, commonest, labels_in, own_regions
from labelloop.label_config import Control
from labelloop.values import Region


@dataclass(frozen=True)
class Chosen:
    """The class of an image."""

    label: int
    score: float | None = None


class ChoiceLesson(Lesson):
    """Judged by macro F1 of the likeliest class."""

    kind = "classify"
    architecture = "yolo11n-cls.yaml"
    thing = "choice"
    metric = "macro_f1"
    has_background = False
    input_bounds = (64, 224)

    @staticmethod
    def learns(control: Control) -> bool:
        """Whether a control is of this kind: one choice about the whole image."""
        return control.tag == "Choices" and control.attributes.get("choice") != "multiple" and not control.per_region

    def objects(self, result: Sequence[Region], size: Size, item: int | None) -> list[Chosen]:
        """The class that was chosen, if one was."""
        chosen = [
            Chosen(label, region.get("score"))
            for region in own_regions(result, self.control, item)
            for label in labels_in(region, self.control)
        ]
        return chosen[:1]

    def row(self, thing: Chosen) -> bytes:
        """Nothing: an image lies in the folder of its class."""
        return b""

    def overlap(self, answers: Sequence[Chosen], truths: Sequence[Chosen], size: Size) -> Floats:
        """All: both are about the whole image."""
        return np.ones((len(answers), len(truths)))

    def naive(self, images: Iterable[LabelledImage]) -> list[Chosen]:
        """The commonest class."""
        chosen = [each for image in images for each in image.objects]
        return [Chosen(commonest(chosen), 1.0)] if chosen else []

    def settings(self) -> dict[str, Any]:
        """Mild changes only: the usual ones need more images and passes than a project has at first."""
        return {"scale": 0.3, "erasing": 0.0, "auto_augment": None}
