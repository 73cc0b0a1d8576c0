"""RectangleLabels: a detector learns upright boxes; a turned one becomes the upright box around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backends.yolo.converters.rectangle_labels import Box, regions_to_boxes
from backends.yolo.learning.lesson import Floats, LabelledImage, Lesson, Size, commonest
from backends.yolo.metrics import box_iou
from labelloop.values import Region
from labelloop.yolo_labels import box_numbers, label_row


class BoxLesson(Lesson):
    """Judged by mAP50: an answer hits where the intersection over union of the boxes is at least a half."""

    kind = "detect"
    architecture = "yolo11n.yaml"
    thing = "rectangle"

    def objects(self, result: Sequence[Region], size: Size, item: int | None) -> list[Box]:
        """Boxes."""
        return regions_to_boxes(result, self.classes, self.control.name, *size, item)

    def row(self, thing: Box) -> bytes:
        """Class, centre and size."""
        return label_row(thing.label, box_numbers((thing.x0, thing.y0, thing.x1, thing.y1)))

    def overlap(self, answers: Sequence[Box], truths: Sequence[Box], size: Size) -> Floats:
        """Intersection over union."""
        return box_iou(answers, truths)

    def naive(self, images: Iterable[LabelledImage]) -> list[Box]:
        """The mean box of the commonest class."""
        return mean_box([box for image in images for box in image.objects])


def mean_box(boxes: Sequence[Box]) -> list[Box]:
    """The mean box of the commonest class, sure of itself; nothing without boxes."""
    if not boxes:
        return []
    common = commonest(boxes)
    own = [box for box in boxes if box.label == common]
    x0, y0, x1, y1 = (sum(getattr(box, key) for box in own) / len(own) for key in ("x0", "y0", "x1", "y1"))
    return [Box(common, x0, y0, x1, y1, score=1.0)]
