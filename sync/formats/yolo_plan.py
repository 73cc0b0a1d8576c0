"""What a YOLO export holds: its task, the controls that become rows, classes, key points, and what it cannot say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labelloop.errors import DataError, UsageError
from labelloop.label_config import Control
from sync.formats.flags import HIDDEN, flag_controls
from sync.formats.format import Plan
from sync.formats.shapes import KINDS

TASKS = ("detect", "segment", "obb", "pose", "classify")
_NEEDS = {
    "pose": "<KeyPointLabels>",
    "classify": "<Choices> about the image as a whole",
}
_OF_IMAGES = "<RectangleLabels>, <PolygonLabels>, <BrushLabels> or <EllipseLabels>"


@dataclass(frozen=True)
class Details:
    """What is written: the controls of shapes, key points and choices by name, and the id of each class.

    `keypoints` are the names of the points of every class, by place; `flags` the controls that mark hidden points;
    `placing` says how images come: "copied", "linked" (to the rebased path) or "listed" (where they are expected).
    """

    task: str
    classes: Mapping[str, int]
    placing: str
    shapes: Mapping[str, Control] = field(default_factory=dict)
    points: Mapping[str, Control] = field(default_factory=dict)
    keypoints: Mapping[str, int] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    choices: Control | None = None


def plan_yolo(plan: Plan) -> Details:
    """The controls of the task; DataError when there are none, UsageError when images are needed and do not come."""
    images = [control for control in plan.config.controls if control.object_tag == "Image"]
    shapes = [control for control in images if control.tag in KINDS]
    points = [control for control in images if control.tag == "KeyPointLabels"]
    choices = [control for control in images if control.tag == "Choices" and not control.per_region]
    task = plan.options.task or _task_of(shapes, points, choices)
    found: Sequence[Control] = {"pose": points, "classify": choices}.get(task, shapes)
    if not found:
        raise DataError(
            f"YOLO {task} needs {_NEEDS.get(task, _OF_IMAGES)} on an <Image> in the label config; choose another --task"
        )
    if task == "classify":
        return _plan_classify(plan, choices)
    _check_options(plan, {"category"} if task == "pose" and not shapes else set())
    if task != "pose":
        return Details(task, _ids(plan.class_names(*shapes)), _placing(plan), {c.name: c for c in shapes})
    names = plan.class_names(*shapes) or (plan.options.values.get("category") or points[0].name,)
    return Details(
        task,
        _ids(names),
        _placing(plan),
        {control.name: control for control in shapes},
        {control.name: control for control in points},
        _ids(plan.class_names(*points)),
        flag_controls(plan.config, (HIDDEN,)),
    )


def _task_of(shapes: Sequence[Control], points: Sequence[Control], choices: Sequence[Control]) -> str:
    """The task that holds most of what the config can say; points that only prompt a model are no labels."""
    if any(control.attributes.get("smart", "").lower() != "true" for control in points) or (points and not shapes):
        return "pose"
    if shapes:
        return "detect" if all(control.tag in ("RectangleLabels", "Labels") for control in shapes) else "segment"
    if choices:
        return "classify"
    raise DataError(
        f"YOLO needs {_OF_IMAGES}, <KeyPointLabels> or <Choices> on an <Image> in the label config; choose another format"
    )


def _plan_classify(plan: Plan, choices: Sequence[Control]) -> Details:
    _check_options(plan, {"control"})
    by_name = {control.name: control for control in choices}
    name = plan.options.values.get("control", choices[0].name)
    if name not in by_name:
        raise UsageError(f"--option control: expected one of {list(by_name)}, got {name!r}")
    placing = _placing(plan)
    if placing == "listed":
        raise UsageError(
            "YOLO classify keeps its labels in folders of images: copy the images with --images, or link them with "
            "--rebase-paths FROM=TO"
        )
    return Details("classify", _ids(plan.class_names(by_name[name])), placing, choices=by_name[name])


def _check_options(plan: Plan, known: set[str]) -> None:
    unknown = sorted(set(plan.options.values) - known)
    if unknown:
        raise UsageError(f"this task of the format yolo knows the options {sorted(known)}, got {unknown[0]!r}")


def _placing(plan: Plan) -> str:
    if plan.options.images:
        return "copied"
    if plan.options.rebase is None:
        return "listed"
    if "://" in plan.options.rebase[1]:
        raise UsageError(f"--rebase-paths: YOLO links to files, so expected a path, got {plan.options.rebase[1]!r}")
    return "linked"


def _ids(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


# -- key points -----------------------------------------------------------------------------------------------------------

_SIDE = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def flip_order(names: Sequence[str]) -> list[int] | None:
    """For each key point the place of the one that it becomes in a mirror, by "left" and "right" in their names.

    None where no name tells a side, or one has no counterpart: then nobody knows what a mirror does to them.
    """
    places = {name: place for place, name in enumerate(names)}
    mirrored = [_SIDE.sub(_swapped, name) for name in names]
    if mirrored == list(names) or any(name not in places for name in mirrored):
        return None
    return [places[name] for name in mirrored]


def _swapped(side: re.Match[str]) -> str:
    said = side.group()
    other = _OTHER[said.lower()]
    if said.isupper():
        return other.upper()
    return other.capitalize() if said[0].isupper() else other


# -- losses ---------------------------------------------------------------------------------------------------------------

_OF_TASK = {
    "detect": ("a turned rectangle is the upright box around it; --task obb keeps the turn",),
    "segment": (
        "a rectangle is a polygon of four corners",
        "of a mask of several parts, or with holes, the outlines are one polygon: bridges without width join them",
    ),
    "obb": (
        "a turned box that leaves the image is trimmed along its sides, and a corner that is still outside moves to the edge",
        "any other shape is the smallest turned box around it",
    ),
    "pose": (
        "the sizes of key points; an object has one point of each name, and a missing one is 0 0 0",
        "a turned rectangle, or another shape, is the upright box around it",
        "key points that neither a parent nor a relation ties to a shape belong to the only one that holds them",
    ),
    "classify": (
        "an image with no choice, or with several, is in no folder: each is named in skipped",
        "trainers number the classes in the order of their folders' names; data.yaml keeps that of the label config",
    ),
}


def losses_of_yolo(plan: Plan) -> tuple[str, ...]:
    """What YOLO's files cannot say."""
    details: Details = plan.details
    tags = {control.tag for control in details.shapes.values()}
    losses = ["annotations of other people than the one that counts as truth", *_OF_TASK[details.task]]
    if details.task == "classify":
        return (*losses, "everything but these choices: shapes, relations, texts and ratings")
    losses += [
        "relations, texts, ratings and choices"
        + (", but for those that mark hidden key points" * bool(details.points)),
        "what lies outside the image is cut off",
        "a region with several classes is a row for each of them; of two equal rows one is left",
    ]
    if details.task == "detect" and tags - {"RectangleLabels"}:
        losses.append("polygons, ellipses and masks are the upright boxes around them; --task segment keeps outlines")
    if details.task == "segment" and tags & {"EllipseLabels", "Labels"}:
        losses.append("an ellipse is a polygon of 72 corners with the same area")
    if details.task != "pose" and any(control.tag == "KeyPointLabels" for control in plan.config.controls):
        losses.append("key points; --task pose keeps them")
    return tuple(losses)
