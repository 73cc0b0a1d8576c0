"""What one control says of one image: regions, how unsure the network is, and what of it people would see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from backends.version_labels import ControlLabels
from backends.yolo.converters import brush_labels, keypoint_labels, polygon_labels, rectangle_labels
from backends.yolo.converters.choices import probabilities_to_region
from backends.yolo.converters.frame import Frame
from backends.yolo.converters.rectangle_labels import Box, TurnedBox, boxes_to_regions, turned_boxes_to_regions
from backends.yolo.decoding import SCORE_FLOOR, ClassGroups, Detections, Floats, decode_detections
from backends.yolo.model_spec import ControlUse, ModelSpec
from backends.yolo.uncertainty import detection_doubt, image_uncertainty
from backends.yolo.views import View
from labelloop.values import Region

REGION_TYPES = (
    rectangle_labels.REGION_TYPE,
    polygon_labels.REGION_TYPE,
    brush_labels.REGION_TYPE,
    keypoint_labels.REGION_TYPE,
    "choices",
    "taxonomy",
)


@dataclass(frozen=True)
class Seen:
    """What a network gave for one image of `size` (width, height): raw outputs of each view, pooled features."""

    size: tuple[int, int]
    views: Sequence[View]
    outputs: Sequence[Sequence[Floats]]
    features: Floats


@dataclass(frozen=True)
class Answer:
    """One control's part of an outcome; `shown` are the scores of regions over their threshold."""

    regions: tuple[Region, ...] = ()
    uncertainty: float = 0.0
    probs: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[float, ...] = ()


def answer(spec: ModelSpec, use: ControlUse, controls: Mapping[str, ControlLabels], seen: Seen, frame: Frame) -> Answer:
    """What the control of `use` says of an image; `controls` holds the version's controls by name."""
    if spec.kind == "classify":
        return _classified(spec, use, controls[use.control], seen, frame)
    if spec.kind == "pose":
        return _posed(spec, use, controls, seen, frame)
    labels = controls[use.control]
    found = _decoded(spec, use.mapping, labels.classes, seen)
    regions = _regions(spec.kind, found, labels, frame)
    highest = found.scores.max(axis=0, initial=0.0)
    probs = dict(zip(labels.classes, map(float, highest), strict=True))
    return Answer(regions, _doubt(found), probs, _shown(regions, controls))


def _decoded(spec: ModelSpec, mapping: Mapping[str, str], classes: Sequence[str], seen: Seen) -> Detections:
    groups = ClassGroups(spec.classes, mapping, classes)
    return decode_detections(
        spec.kind, seen.outputs, seen.views, seen.size, groups, spec.options, point_shape=spec.point_shape
    )


def _regions(kind: str, found: Detections, labels: ControlLabels, frame: Frame) -> tuple[Region, ...]:
    pairs = list(zip(found.labels, found.best, strict=True))
    if kind == "obb":
        turned = [
            TurnedBox(int(label), x, y, width, height, angle, float(score))
            for (label, score), (x, y, width, height, angle) in zip(pairs, found.boxes.tolist(), strict=True)
        ]
        return turned_boxes_to_regions(turned, labels.classes, frame)
    if kind == "detect":
        return boxes_to_regions(_fractions(found, frame), labels.classes, frame)
    regions: list[Region] = []
    for number, ((label, score), mask) in enumerate(zip(pairs, found.masks or (), strict=True)):
        name = labels.classes[int(label)]
        if labels.type == brush_labels.REGION_TYPE:
            region = brush_labels.mask_to_region(mask.full(), name, float(score), frame, number)
            regions += [region] if region else []
        else:
            regions += polygon_labels.outlines_to_regions(mask.outlines(), name, float(score), frame, number)
    return tuple(regions)


def _fractions(found: Detections, frame: Frame) -> list[Box]:
    """Upright boxes as fractions of the image."""
    corners = found.boxes / np.array([frame.width, frame.height] * 2)
    return [
        Box(int(label), x0, y0, x1, y1, float(score))
        for label, (x0, y0, x1, y1), score in zip(found.labels, corners.tolist(), found.best, strict=True)
    ]


def _posed(spec: ModelSpec, use: ControlUse, controls: Mapping[str, ControlLabels], seen: Seen, frame: Frame) -> Answer:
    """Points, and the boxes around them where a control takes those."""
    objects = tuple(dict.fromkeys(name for point in use.points.values() for name in point.of))
    found = _decoded(spec, {name: name for name in objects}, objects, seen)
    boxes = _boxes_by_number(spec, use, controls, found, objects, frame)
    regions: list[Region] = []
    for number, (label, score) in enumerate(zip(found.labels, found.best, strict=True)):
        places = {name: point.index for name, point in use.points.items() if objects[int(label)] in point.of}
        points = found.points if found.points is not None else np.zeros((0, 0, 3))
        own = keypoint_labels.points_to_regions(
            points[number], places, float(score), frame, number=number, size=spec.options.point_size,
            threshold=spec.options.point_threshold, parent=boxes[number]["id"] if number in boxes else None,
        )  # fmt: skip
        regions += [boxes[number], *own] if number in boxes else own
    probs = dict.fromkeys(controls[use.control].classes, 0.0)
    for region in regions:
        for name in region["value"].get(keypoint_labels.REGION_TYPE, ()):
            probs[name] = max(probs[name], region["score"])
    return Answer(tuple(regions), _doubt(found), probs, _shown(regions, controls))


def _boxes_by_number(
    spec: ModelSpec,
    use: ControlUse,
    controls: Mapping[str, ControlLabels],
    found: Detections,
    objects: Sequence[str],
    frame: Frame,
) -> dict[int, Region]:
    """The region of the box around each object whose class the linked control has."""
    if use.boxes is None:
        return {}
    taker = controls[use.boxes]
    mapping = next(each.mapping for each in spec.controls if each.control == use.boxes)
    own = replace(frame, control=taker.control, to_name=taker.to_name, type=taker.type)
    regions = {}
    for number, box in enumerate(_fractions(found, frame)):
        name = mapping.get(objects[box.label])
        if name is not None:
            named = replace(box, label=taker.classes.index(name))
            for region in boxes_to_regions([named], taker.classes, own):
                regions[number] = region | {"id": own.region_id((use.control, number))}
    return regions


def _classified(spec: ModelSpec, use: ControlUse, labels: ControlLabels, seen: Seen, frame: Frame) -> Answer:
    """Each class has the probability of all the model's classes that mean it, together."""
    frame = replace(frame, width=0, height=0)  # a class of the whole image has no place in it
    raw = np.asarray(seen.outputs[0][0], dtype=np.float64)[None]
    groups = ClassGroups(spec.classes, use.mapping, labels.classes)
    total = groups.total(raw)[0]
    probs = dict(zip(labels.classes, map(float, total), strict=True))
    possible = {
        labels.classes[index]: probs[labels.classes[index]] for index in np.unique(groups.target[groups.target >= 0])
    }
    region = probabilities_to_region(
        possible, frame, thresholds=labels.show_threshold if use.multiple else None, paths=use.paths, floor=SCORE_FLOOR
    )
    if use.multiple:
        doubt = max(1.0 - abs(2.0 * p - 1.0) for p in possible.values())
    else:
        ranked = sorted([*possible.values(), 1.0 - min(1.0, sum(possible.values()))], reverse=True)
        doubt = 1.0 - (ranked[0] - ranked[1])
    regions = (region,) if region else ()
    return Answer(regions, min(1.0, max(0.0, doubt)), probs, _shown(regions, {labels.control: labels}))


def _doubt(found: Detections) -> float:
    doubts = [detection_doubt(float(s), float(r)) for s, r in zip(found.best, found.runner_up, strict=True)]
    return image_uncertainty(doubts)


def _shown(regions: Sequence[Region], controls: Mapping[str, ControlLabels]) -> tuple[float, ...]:
    """The scores of the regions that reach the threshold of every class they name."""
    shown = []
    for region in regions:
        least = controls[region["from_name"]].show_threshold
        names = [" / ".join(n) if isinstance(n, list) else n for n in region["value"][region["type"]]]
        if all(region["score"] >= least[name] for name in names):
            shown.append(region["score"])
    return tuple(shown)
