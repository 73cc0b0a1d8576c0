"""What a COCO export holds: its task, the controls that become annotations, categories, key points and skeleton."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labelloop.errors import DataError, UsageError
from labelloop.label_config import Control
from sync.formats.examples import Example, Picture, image_keys
from sync.formats.flags import CROWD, HIDDEN, Marks, flag_controls
from sync.formats.format import Plan
from sync.formats.shapes import KINDS

TASKS = ("detect", "segment", "pose")
_OPTIONS = ("category", "skeleton")


@dataclass(frozen=True)
class Details:
    """What is written: shape and key point controls by name, and the category of each class.

    `keypoints` are the names of the points of every category, `skeleton` pairs of them, counted from 1; `flags` the
    controls that mark hidden points and crowds; `paged`: tasks have several images.
    """

    task: str
    shapes: Mapping[str, Control]
    points: Mapping[str, Control]
    categories: Mapping[str, int]
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    flags: frozenset[str]
    paged: bool


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image that is written: its id, its (width, height), the marks of its task's regions, its annotations' file."""

    example: Example
    picture: Picture
    image_id: int
    size: tuple[int, int]
    marks: Marks
    file: str


def plan_coco(plan: Plan) -> Details:
    """The controls with shapes and key points; DataError when the task needs others than there are."""
    unknown = sorted(set(plan.options.values) - set(_OPTIONS))
    if unknown:
        raise UsageError(f"the format coco knows the options {list(_OPTIONS)}, got {unknown[0]!r}")
    images = [control for control in plan.config.controls if control.object_tag == "Image"]
    shapes = [control for control in images if control.tag in KINDS]
    points = [control for control in images if control.tag == "KeyPointLabels"]
    task = plan.options.task or _task_of(shapes, points)
    if task == "pose" and not points:
        raise DataError("COCO pose needs <KeyPointLabels> in the label config; choose --task detect or segment")
    if task != "pose":
        points = []
    if not shapes and not points:
        raise DataError(f"COCO needs one of {[f'<{tag}>' for tag in KINDS]} in the label config; choose another format")
    keys = image_keys(plan.config)
    keypoints = plan.class_names(*points)
    return Details(
        task,
        {control.name: control for control in shapes},
        {control.name: control for control in points},
        _categories(plan, shapes, points),
        keypoints,
        _skeleton(plan.options.values.get("skeleton", ""), keypoints),
        flag_controls(plan.config, (HIDDEN, CROWD) if points else (CROWD,)),
        len(keys) > 1 or keys[0].listed,
    )


def _task_of(shapes: list[Control], points: list[Control]) -> str:
    """The task that holds all that the config can say."""
    if points:
        return "pose"
    return "detect" if all(control.tag == "RectangleLabels" for control in shapes) else "segment"


def _categories(plan: Plan, shapes: list[Control], points: list[Control]) -> dict[str, int]:
    """The category of each class of the shapes; where there are key points only, of the one kind of object they have."""
    names: tuple[str, ...] = plan.class_names(*shapes)
    told = plan.options.values.get("category")
    if shapes and told is not None:
        raise UsageError("--option category names the objects of key points without boxes, and this config has boxes")
    if not shapes:
        names = (told or points[0].name,)
    return {name: number for number, name in enumerate(names, start=1)}


def _skeleton(told: str, keypoints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs like "nose:left eye,1:3"; each end is the name of a key point, or its number from 1."""
    numbers = {name: number for number, name in enumerate(keypoints, start=1)}
    numbers = {str(number): number for number in numbers.values()} | numbers
    pairs = []
    for pair in filter(None, (each.strip() for each in told.split(","))):
        ends = [numbers.get(end.strip()) for end in pair.split(":")]
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            raise UsageError(
                f"--option skeleton: expected pairs like A:B,B:C of the key points {list(keypoints)} or their numbers "
                f"from 1, got {pair!r}"
            )
        pairs.append((ends[0], ends[1]))
    return tuple(pairs)


def losses_of_coco(plan: Plan) -> tuple[str, ...]:
    """What COCO cannot say."""
    details: Details = plan.details
    tags = {control.tag for control in details.shapes.values()}
    losses = [
        "annotations of other people than the one that counts as truth",
        "relations, texts, ratings and choices, but for choices about one region that mark crowds or hidden key points",
        "a region with several classes is an annotation for each of them",
        "what lies outside the image is cut off; of a turned box that is cut, the outline is kept",
    ]
    if details.task == "detect" and tags - {"RectangleLabels"}:
        losses.append("polygons, ellipses and brushes are their upright bounds; --task segment keeps their outlines")
    elif tags & {"EllipseLabels", "Labels"}:
        losses.append("an ellipse is a polygon of 72 corners with the same area")
    if details.task == "pose":
        losses += [
            "the sizes of key points; an instance has one point of each name",
            "an instance without a box has the box around its key points",
            "key points that neither a parent nor a relation ties to a box belong to the only box that holds them",
        ]
    elif any(control.tag == "KeyPointLabels" for control in plan.config.controls):
        losses.append("key points; --task pose keeps them")
    return tuple(losses)
