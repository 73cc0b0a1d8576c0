"""Which lessons the labels of a dataset give: one for each kind of network that its label config asks for."""

from __future__ import annotations

from collections.abc import Sequence

from backends.yolo.control_uses import box_links, kind_of
from backends.yolo.learning.classify import ChoiceLesson
from backends.yolo.learning.detect import BoxLesson
from backends.yolo.learning.lesson import Lesson
from backends.yolo.learning.obb import TurnedLesson
from backends.yolo.learning.pose import PoseLesson
from backends.yolo.learning.segment import OutlineLesson
from backends.yolo.model_spec import KINDS
from labelloop.datasets import Dataset
from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig

_OF_ONE_CONTROL: dict[str, type[Lesson]] = {
    lesson.kind: lesson for lesson in (BoxLesson, TurnedLesson, OutlineLesson, ChoiceLesson)
}


def lessons_of(dataset: Dataset) -> list[Lesson]:
    """The lessons of a dataset in the order of KINDS: of each kind, that of the first control that has labels.

    The same for every version that is measured on the dataset. Where nothing is labelled, the first that there could be.
    DataError when the config has no control that can be learned.
    """
    used = {
        str(region.get("from_name"))
        for split in ("train", "holdout")
        for _, _, result in dataset.truth(split)
        for region in result
    }
    return lessons_for(dataset.label_config, used)


def lessons_for(config: LabelConfig, used: set[str]) -> list[Lesson]:
    """As `lessons_of`, of a config whose controls of these names have labels."""
    able = [control for control in config.controls if learnable(control)]
    if not able:
        raise DataError(
            "the label config has nothing that yolo learns: it needs RectangleLabels, PolygonLabels, BrushLabels, "
            "KeyPointLabels, or Choices with a single choice about the whole image, of an Image"
        )
    there = [control for control in able if control.name in used]
    lessons = {lesson.kind: lesson for lesson in reversed(_lessons(config, there or able[:1]))}
    return [lessons[kind] for kind in KINDS if kind in lessons]


def learnable(control: Control) -> bool:
    """Whether a network can be trained for a control."""
    kind = kind_of(control)
    return ChoiceLesson.learns(control) if kind == "classify" else kind is not None


def _lessons(config: LabelConfig, controls: Sequence[Control]) -> list[Lesson]:
    """One for each control; boxes around key points are learned with those."""
    poses = [control for control in controls if kind_of(control) == "pose"][:1]
    links = box_links(config, ("pose",)) if poses else {}
    linked = {links[control.name] for control in poses if control.name in links}
    lessons: list[Lesson] = []
    for control in controls:
        kind = str(kind_of(control))
        if control in poses:
            boxes = links.get(control.name)
            lessons.append(PoseLesson(control, config.control(boxes) if boxes else None))
        elif kind in _OF_ONE_CONTROL and control.name not in linked:
            lessons.append(_OF_ONE_CONTROL[kind](control))
    return lessons
