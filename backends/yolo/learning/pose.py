"""KeyPointLabels: a network learns objects with their key points, and the boxes of the RectangleLabels around them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backends.version_labels import ControlLabels
from backends.yolo.converters.frame import Frame
from backends.yolo.converters.rectangle_labels import Box, regions_to_boxes
from backends.yolo.learning.detect import mean_box
from backends.yolo.learning.lesson import Floats, LabelledImage, Lesson, Size, labels_in, labels_of, own_regions
from backends.yolo.metrics import box_iou
from backends.yolo.model_spec import ControlUse, PointUse
from labelloop.geometry import bounds
from labelloop.instances import Point, Shape, grouped_points
from labelloop.label_config import Control
from labelloop.values import Region
from labelloop.yolo_labels import box_numbers, label_row

#: The only class of objects around whose points nobody draws boxes.
OBJECT = "object"
#: How far a person's own labels of a point scatter, as a share of the object's size: COCO's 17 points of people
#: (cocodataset.org/#keypoints-eval; Ronchi and Perona 2017, arXiv:1707.05388), and what is taken for any other points.
COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
SIGMA = 0.1
#: What of a box an object covers on average, where its area is not known (as ultralytics counts it).
COVERED = 0.53
#: What the box around loose points has on each side of them: of its longer side, and of the image at least.
_MARGIN, _LEAST_MARGIN = 0.15, 0.03
#: Answers of an image that are looked at.
_MOST = 300
Spot = tuple[float, float] | None


@dataclass(frozen=True)
class Pose:
    """An object: the box around it, and where each point is; None for one that is not labelled. Fractions of the image."""

    box: Box
    points: tuple[Spot, ...]
    score: float | None = None

    @property
    def label(self) -> int:
        return self.box.label


class PoseLesson(Lesson):
    """Judged by mAP50 of object keypoint similarity (OKS): an answer hits where it is at least a half."""

    kind = "pose"
    architecture = "yolo11n-pose.yaml"
    thing = "key point"

    def __init__(self, control: Control, boxes: Control | None) -> None:
        super().__init__(control)
        self.boxes = boxes
        self.point_shape = (len(control.classes), 3)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the boxes."""
        return self.boxes.classes if self.boxes else (OBJECT,)

    @property
    def controls(self) -> tuple[Control, ...]:
        """The points', and that of the boxes around them."""
        return (self.control, self.boxes) if self.boxes else (self.control,)

    def uses(self) -> tuple[ControlUse, ...]:
        """Any object may have any point."""
        points = {name: PointUse(index, self.classes) for index, name in enumerate(self.control.classes)}
        own = ControlUse(self.control.name, {}, points=points, boxes=self.boxes.name if self.boxes else None)
        return (ControlUse(self.boxes.name, {name: name for name in self.classes}), own) if self.boxes else (own,)

    # -- truths ---------------------------------------------------------------------------------------------------

    def objects(self, result: Sequence[Region], size: Size, item: int | None) -> list[Pose]:
        """Boxes with the points that belong to them, and loose points with a box around them.

        Of objects of several classes loose points tell nothing; they are left out.
        """
        shapes: list[Shape] = []
        boxes: list[list[Box]] = []
        for region in own_regions(result, self.boxes, item) if self.boxes else ():
            found = regions_to_boxes([region], self.classes, region["from_name"], *size)
            if found:
                shapes.append(Shape(region, (found[0].x0, found[0].y0, found[0].x1, found[0].y1)))
                boxes.append(found)
        points = [point for region in own_regions(result, self.control, item) if (point := _point(region))]
        grouped = grouped_points(shapes, points, result)
        poses = [
            Pose(box, self._spots(own), box.score)
            for each, own in zip(boxes, grouped.of_shapes, strict=True)
            for box in each
        ]
        if len(self.classes) == 1:
            poses += [Pose(_around([(p.x, p.y) for p in loose]), self._spots(loose)) for loose in grouped.loose]
        return poses

    def _spots(self, points: Sequence[Point]) -> tuple[Spot, ...]:
        """Where each class of point is, the first of each."""
        spots: dict[int, Spot] = {}
        for point in points:
            for label in labels_in(point.region, self.control):
                spots.setdefault(label, (point.x, point.y))
        return tuple(spots.get(index) for index in range(len(self.control.classes)))

    # -- answers --------------------------------------------------------------------------------------------------

    def answered(self, regions: Sequence[Region], image: LabelledImage) -> list[Pose]:
        """Objects by the ids of their regions, which tell what belongs together also where there is no box."""
        found = {str(region.get("id")): region for region in regions}
        own = Frame(self.control.name, self.control.to_name, "", item=image.item, address=image.address)
        around = replace(own, control=self.boxes.name) if self.boxes else None
        poses = []
        for number in range(_MOST):
            box = found.get(around.region_id((self.control.name, number))) if around else None
            told = [found.get(own.region_id((number, name))) for name in self.control.classes]
            points = [point for region in told if region and (point := _point(region))]
            if box is None and (around or not points):
                continue
            if box is not None:
                boxes = regions_to_boxes([box], self.classes, box["from_name"], *image.size)
            else:
                score = max(float(point.region["score"]) for point in points)
                boxes = [replace(_around([(point.x, point.y) for point in points]), score=score)]
            poses += [Pose(each, self._spots(points), each.score) for each in boxes]
        return poses

    def overlap(self, answers: Sequence[Pose], truths: Sequence[Pose], size: Size) -> Floats:
        """Object keypoint similarity; of a truth without any point the intersection over union of the boxes."""
        sigmas = COCO_SIGMAS if len(self.control.classes) == len(COCO_SIGMAS) else (SIGMA,) * len(self.control.classes)
        found = box_iou([each.box for each in answers], [each.box for each in truths])
        for j, truth in enumerate(truths):
            if any(truth.points):
                found[:, j] = [similarity(answer, truth, size, sigmas) for answer in answers]
        return found

    def naive(self, images: Iterable[LabelledImage]) -> list[Pose]:
        """The mean box of the commonest class, each point where it is in a box on average."""
        poses = [each for image in images for each in image.objects]
        return [
            Pose(box, _mean_spots(box, [each for each in poses if each.label == box.label]), box.score)
            for box in mean_box([each.box for each in poses])
        ]

    # -- training -------------------------------------------------------------------------------------------------

    def row(self, thing: Pose) -> bytes:
        """Class, box, and x, y and 2 (0 0 0 where it is not there) of each point."""
        box = thing.box
        spots = b" ".join(b"%.8f %.8f 2" % spot if spot else b"0 0 0" for spot in thing.points)
        return label_row(box.label, b"%b %b" % (box_numbers((box.x0, box.y0, box.x1, box.y1)), spots))

    def lacks(self, images: Sequence[LabelledImage]) -> str | None:
        """Points are needed, boxes alone are not enough."""
        there = any(any(each.points) for image in images for each in image.objects)
        return None if there else super().lacks([])

    def data(self) -> dict[str, Any]:
        """The points, and which of them a mirror image swaps."""
        count = len(self.control.classes)
        sigmas = COCO_SIGMAS if count == len(COCO_SIGMAS) else (SIGMA,) * count
        swapped = mirrored(self.control.classes)
        known = {"kpt_shape": [count, 3], "kpt_oks_sigmas": list(sigmas)}
        return known | ({"flip_idx": swapped} if swapped else {})

    def settings(self) -> dict[str, Any]:
        """No mirror images where nobody says which point takes the place of which."""
        return {} if mirrored(self.control.classes) else {"fliplr": 0.0}

    def labels(self, thresholds: Mapping[str, float]) -> list[ControlLabels]:
        """A point is shown from the lowest threshold of the objects that have it."""
        own = labels_of(self.control, dict.fromkeys(self.control.classes, min(thresholds.values())))
        return [own, labels_of(self.boxes, thresholds)] if self.boxes else [own]

    def thresholds(self, controls: Mapping[str, ControlLabels]) -> list[float]:
        """Those of the boxes, or of the points where there are none."""
        own = controls.get((self.boxes or self.control).name)
        if own is None:
            return [1.0] * len(self.classes)
        default = min(own.show_threshold.values()) if self.boxes is None else 1.0
        return [own.show_threshold.get(name, default) for name in self.classes]


def similarity(answer: Pose, truth: Pose, size: Size, sigmas: Sequence[float]) -> float:
    """Object keypoint similarity, 0..1: the mean over the truth's points of exp(-d^2 / (2 s^2 (2 sigma)^2)).

    d is a point's distance in pixels, s^2 the object's area; a point that the answer does not tell adds nothing. As in
    COCO's keypoint evaluation (cocodataset.org/#keypoints-eval), whose areas are of outlines: of a box a share counts.
    """
    width, height = size
    area = COVERED * (truth.box.x1 - truth.box.x0) * width * (truth.box.y1 - truth.box.y0) * height
    near = []
    for true, told, sigma in zip(truth.points, answer.points, sigmas, strict=True):
        if true is not None:
            squared = ((true[0] - told[0]) * width) ** 2 + ((true[1] - told[1]) * height) ** 2 if told else math.inf
            near.append(math.exp(-squared / (2 * area * (2 * sigma) ** 2)) if area > 0 else 0.0)
    return sum(near) / len(near) if near else 0.0


def mirrored(names: Sequence[str]) -> list[int]:
    """The place of each point's counterpart in a mirror image, by "left" and "right" in their names; empty without any."""
    folded = [name.casefold() for name in names]
    partners = [_swapped(name) for name in folded]
    if folded == partners or not set(partners) <= set(folded):
        return []
    return [folded.index(partner) for partner in partners]


def _swapped(name: str) -> str:
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


def _point(region: Region) -> Point | None:
    """A key point in fractions of the image; None where it has no place on it."""
    try:
        x, y = float(region["value"]["x"]) / 100, float(region["value"]["y"]) / 100
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Point(region, x, y) if 0 <= x <= 1 and 0 <= y <= 1 else None


def _around(points: Sequence[tuple[float, float]]) -> Box:
    """The box around points, with a margin; its class is the only one."""
    x0, y0, x1, y1 = bounds(points)
    margin = max(_MARGIN * max(x1 - x0, y1 - y0), _LEAST_MARGIN)
    return Box(0, *(float(v) for v in np.clip([x0 - margin, y0 - margin, x1 + margin, y1 + margin], 0.0, 1.0)))


def _mean_spots(box: Box, poses: Sequence[Pose]) -> tuple[Spot, ...]:
    """Where each point is on average in the boxes of these objects, in this box."""
    spots: list[Spot] = []
    for index in range(len(poses[0].points)):
        shares = [
            ((spot[0] - each.box.x0) / (each.box.x1 - each.box.x0), (spot[1] - each.box.y0) / (each.box.y1 - each.box.y0))
            for each in poses
            if (spot := each.points[index])
        ]  # fmt: skip
        if shares:
            x, y = (float(value) for value in np.mean(shares, axis=0))
            spots.append((box.x0 + x * (box.x1 - box.x0), box.y0 + y * (box.y1 - box.y0)))
        else:
            spots.append(None)
    return tuple(spots)
