"""What a Hugging Face dataset of a label config holds: its task, its columns, the controls that fill them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig
from sync.formats.csv_wide import task_choices
from sync.formats.format import Plan
from sync.formats.format_options import chosen_options
from sync.formats.hf_features import ClassLabel, Features, Image, ListOf, Value
from sync.formats.shapes import KINDS
from sync.formats.texts import ALL, SpanClasses, span_classes, text_controls

#: task -> the category under which the hub lists it
TASKS = {
    "detect": "object-detection",
    "segment": "image-segmentation",
    "ner": "token-classification",
    "classify": "image-classification",
    "textcat": "text-classification",
}
_STRING, _WHOLE, _REAL = Value("string"), Value("int64"), Value("float64")
#: Columns that each dataset has: the task's id, and what of its data has no column, as JSON.
_OWN: Features = {"task_id": _WHOLE, "data": _STRING}


#: What is said of each object: its box [x, y, width, height] in pixels, rings [x, y, x, y, ...] of its outline, or its mask
#: in COCO's compressed code, and how far a box was turned.
OBJECTS: Features = {
    "bbox": ListOf(ListOf(_REAL)),
    "area": ListOf(_REAL),
    "region_id": ListOf(_STRING),
    "segmentation": ListOf(ListOf(ListOf(_REAL))),
    "mask": ListOf(_STRING),
    "rotation": ListOf(_REAL),
}
OBJECT_COLUMNS = {
    "detect": ("bbox", "category", "area", "region_id"),
    "segment": ("bbox", "category", "area", "region_id", "segmentation", "mask", "rotation"),
}


@dataclass(frozen=True)
class ChoiceColumn:
    """The column of a choice control: its name, the id of each class, and whether it is a list."""

    name: str
    classes: Mapping[str, int]
    several: bool


@dataclass(frozen=True)
class Details:
    """What is written. `columns` are those of choices, by control; `classes` the id of each class of shapes or spans."""

    task: str
    features: Features
    controls: Mapping[str, Control]
    classes: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, ChoiceColumn] = field(default_factory=dict)
    spans: SpanClasses | None = None


def plan_huggingface(plan: Plan) -> Details:
    """The columns of a task (default: the first of TASKS that the config has); DataError when it does not fit."""
    chosen_options(plan, {})
    task = plan.options.task or _task_of(plan.config)
    if task in ("detect", "segment"):
        return _shapes(plan, task)
    return _spans(plan) if task == "ner" else _choices(plan, task)


def _task_of(config: LabelConfig) -> str:
    for task, tags in (("detect", ("RectangleLabels",)), ("segment", tuple(KINDS))):
        if any(control.tag in tags and control.object_tag == "Image" for control in config.controls):
            return task
    if any(control.tag == "Labels" and control.object_tag == "Text" for control in config.controls):
        return "ner"
    choices = [control for control in task_choices(config) if control.tag == "Choices"]
    if not choices:
        raise DataError(
            "a Hugging Face dataset needs shapes on an <Image>, <Labels> on a <Text>, or <Choices>; choose another format"
        )
    return "classify" if choices[0].object_tag == "Image" else "textcat"


def _shapes(plan: Plan, task: str) -> Details:
    controls = [c for c in plan.config.controls if c.tag in KINDS and c.object_tag == "Image"]
    if not controls:
        raise DataError(f"{task} needs one of {[f'<{tag}>' for tag in KINDS]} on an <Image> in the label config")
    names = plan.class_names(*controls)
    types = {"category": ListOf(ClassLabel(names)), **OBJECTS}
    objects = {name: types[name] for name in OBJECT_COLUMNS[task]}
    features = {"image": _image(plan), "width": _WHOLE, "height": _WHOLE, "objects": objects, **_OWN}
    return Details(task, features, _by_name(controls), {name: place for place, name in enumerate(names)})


def _image(plan: Plan) -> Image | Value:
    return Image() if plan.options.images else _STRING


def _spans(plan: Plan) -> Details:
    spans = span_classes(plan, text_controls(plan, "Labels"), ALL)
    tags = ("O", *(f"{prefix}-{name}" for name in spans.classes for prefix in "BI"))
    marked = {
        "start": ListOf(_WHOLE),
        "end": ListOf(_WHOLE),
        "label": ListOf(ClassLabel(tuple(spans.classes))),
        "region_id": ListOf(_STRING),
    }
    features = {
        "text": _STRING,
        "tokens": ListOf(_STRING),
        "ner_tags": ListOf(ClassLabel(tags)),
        "spans": marked,
        **_OWN,
    }
    return Details("ner", features, spans.controls, spans.classes, spans=spans)


def _choices(plan: Plan, task: str) -> Details:
    on_image = task == "classify"
    found = [
        control
        for control in task_choices(plan.config)
        if control.tag == "Choices" and (control.object_tag == "Image") == on_image
    ]
    if not found:
        raise DataError(f"{task} needs <Choices> on {'an <Image>' if on_image else 'a text'} in the label config")
    controls = [control for control in found if control.to_name == found[0].to_name]
    shown: Features = {"image": _image(plan)} if on_image else {"text": _STRING}
    columns = {control.name: _column(plan, control, len(controls), {*shown, *_OWN}) for control in controls}
    labels = {column.name: _label(column) for column in columns.values()}
    return Details(task, {**shown, **labels, **_OWN}, _by_name(controls), columns=columns)


def _column(plan: Plan, control: Control, of: int, taken: set[str]) -> ChoiceColumn:
    """`label` or `labels`; of several controls each its name."""
    several = control.attributes.get("choice") == "multiple"
    name = "labels" if several else "label"
    if of > 1:
        name = f"{control.name}_label" if control.name in taken else control.name
    return ChoiceColumn(name, {each: place for place, each in enumerate(plan.class_names(control))}, several)


def _label(column: ChoiceColumn) -> ClassLabel | ListOf:
    label = ClassLabel(tuple(column.classes))
    return ListOf(label) if column.several else label


def _by_name(controls: list[Control]) -> dict[str, Control]:
    return {control.name: control for control in controls}


def losses_of_huggingface(plan: Plan) -> tuple[str, ...]:
    """What the columns cannot say."""
    details: Details = plan.details
    told = {
        "detect": (
            "turned boxes, polygons, ellipses and masks are the upright boxes around them; what is not on the image is cut",
        ),
        "segment": ("what is not on the image is cut; an ellipse is a polygon", "the points of brushes are masks"),
        "ner": (
            "white space at the ends of a span is cut off",
            "of overlapping spans ner_tags has the longest; spans has all",
        ),
        "classify": ("of a task with several images the first",),
        "textcat": (),
    }[details.task]
    holds = "shapes" if details.task in ("detect", "segment") else "spans" if details.task == "ner" else "choices"
    return (
        "annotations of other people than the one that counts as truth",
        f"everything but {holds}: each dropped region is named in skipped",
        "the task's meta",
        *told,
    )
