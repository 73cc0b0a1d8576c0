"""How the controls of a label config take a model's results: classes, points and thresholds, read from its tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from backends.class_mapping import map_classes
from backends.yolo.checkpoint import Checkpoint
from backends.yolo.model_spec import ControlUse, PointUse
from labelloop.errors import DataError
from labelloop.label_config import CONTROL_TAGS, Control, LabelConfig

SHOW_THRESHOLD = 0.3
PATH_SEPARATOR = " / "
#: What a pose model of 17 points calls them when it does not tell: those of COCO, which the published ones have.
COCO_POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


@dataclass(frozen=True)
class ValueTag:
    """One <Label> or <Choice>: its class, its place in a Taxonomy, and its attributes."""

    name: str
    path: tuple[str, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def predicted_values(self) -> tuple[str, ...]:
        """The model classes that the config says it means."""
        said = self.attributes.get("predicted_values", "").split(",")
        return tuple(part.strip() for part in said if part.strip())


def value_tags(config: LabelConfig, control: Control) -> list[ValueTag]:
    """The values of a control in document order; those of a Taxonomy with their paths, its inner ones too."""
    root = ElementTree.fromstring(config.xml)
    tag = CONTROL_TAGS[control.tag][0]
    own = next(each for each in root.iter(control.tag) if each.attrib.get("name") == control.name)
    if control.tag == "Taxonomy":
        return _nested(own, tag, ())
    return [ValueTag(_name(each), (_name(each),), dict(each.attrib)) for each in own.iter(tag)]


def _nested(element: Element, tag: str, above: tuple[str, ...]) -> list[ValueTag]:
    found = []
    for each in element.findall(tag):
        path = (*above, _name(each))
        found += [ValueTag(PATH_SEPARATOR.join(path), path, dict(each.attrib)), *_nested(each, tag, path)]
    return found


def _name(element: Element) -> str:
    return element.attrib.get("alias") or element.attrib.get("value", "")


def told_classes(tags: list[ValueTag]) -> dict[str, tuple[str, ...]]:
    """The model classes that each class says it means; a Taxonomy's class also says the last name of its path.

    It does not where another path ends alike.
    """
    ends = [tag.path[-1] for tag in tags]
    return {
        tag.name: tag.predicted_values
        or ((tag.path[-1],) if len(tag.path) > 1 and ends.count(tag.path[-1]) == 1 else ())
        for tag in tags
    }


def show_threshold(control: Control) -> float:
    """The score from which people see a suggestion: `model_score_threshold` of the tag, else 0.3.

    DataError when it is no number from 0 to 1.
    """
    for name in ("model_score_threshold", "score_threshold"):
        if name in control.attributes:
            return _share(control, name)
    return SHOW_THRESHOLD


def _share(control: Control, name: str) -> float:
    said = control.attributes[name]
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise DataError(f'control {control.name!r}: expected a number from 0 to 1 in {name}="{said}"')
    return value


def kind_of(control: Control) -> str | None:
    """The kind of network that a control needs (backends.yolo.model_spec.KINDS), None where none helps it."""
    if control.object_tag != "Image":
        return None
    if control.tag == "RectangleLabels":
        return "obb" if control.attributes.get("model_obb", "").lower() == "true" else "detect"
    return {
        "PolygonLabels": "segment", "BrushLabels": "segment", "KeyPointLabels": "pose",
        "Choices": "classify", "Taxonomy": "classify",
    }.get(control.tag)  # fmt: skip


def control_uses(
    config: LabelConfig, kind: str, checkpoint: Checkpoint, kinds: Sequence[str], source: str
) -> list[tuple[ControlUse, str | None]]:
    """(how each control of this kind takes the model's results, what its user should know) in document order.

    `kinds` are those of all models that there are. DataError when no class of the model has a place in a control.
    """
    controls = [control for control in config.controls if kind_of(control) == kind]
    if kind == "pose":
        return _pose_uses(config, controls, checkpoint, kinds, source)
    links = box_links(config, kinds)
    return [
        _class_use(config, control, checkpoint.classes, source)
        for control in controls
        if control.name not in links.values()
    ]


def _class_use(
    config: LabelConfig, control: Control, model_classes: Sequence[str], source: str
) -> tuple[ControlUse, str | None]:
    tags = value_tags(config, control)
    named = replace(control, classes=tuple(dict.fromkeys(tag.name for tag in tags)))
    found = map_classes(model_classes, named, told_classes(tags))
    if not found.mapping:
        raise DataError(
            f"{source}: none of the model's {len(model_classes)} classes ({_some(model_classes)}) is a class of "
            f"control {control.name!r} ({_some(named.classes)}); say which label means which with predicted_values, "
            'as in <Label value="Person" predicted_values="person,man"/>'
        )
    use = ControlUse(
        control.name,
        dict(found.mapping),
        multiple=control.attributes.get("choice") == "multiple",
        paths={tag.name: tag.path for tag in tags} if control.tag == "Taxonomy" else {},
    )
    return use, found.warning(control.name)


def box_links(config: LabelConfig, kinds: Sequence[str]) -> dict[str, str]:
    """The RectangleLabels control that takes the boxes around the points, by name of the KeyPointLabels control.

    That is "<name>_bbox", else the first on the same image that has no model of its own.
    """
    found: dict[str, str] = {}
    if "pose" not in kinds:
        return found
    boxes = [control for control in config.controls if control.tag == "RectangleLabels"]
    for control in config.controls:
        if kind_of(control) == "pose":
            free = [
                box.name
                for box in sorted(boxes, key=lambda box: box.name != f"{control.name}_bbox")
                if box.to_name == control.to_name
                and box.name not in found.values()
                and (box.name == f"{control.name}_bbox" or kind_of(box) not in kinds)
            ]
            found |= {control.name: free[0]} if free else {}
    return found


def _pose_uses(
    config: LabelConfig, controls: Sequence[Control], checkpoint: Checkpoint, kinds: Sequence[str], source: str
) -> list[tuple[ControlUse, str | None]]:
    links = box_links(config, kinds)
    uses: list[tuple[ControlUse, str | None]] = []
    for control in controls:
        points, missing = _points(config, control, checkpoint)
        if not points:
            raise DataError(
                f"{source}: no class of control {control.name!r} ({_some(control.classes)}) is a point of the model; "
                'say which with model_index, as in <Label value="Nose" model_index="0"/>'
            )
        warning = f"control {control.name!r}: no point of the model is called {_some(missing)}; give a model_index"
        linked = None
        if control.name in links:
            taker, box_warning = _class_use(config, config.control(links[control.name]), checkpoint.classes, source)
            linked = taker.control
            uses.append((taker, box_warning))
        uses.append((ControlUse(control.name, {}, points=points, boxes=linked), warning if missing else None))
    return uses


def _points(config: LabelConfig, control: Control, checkpoint: Checkpoint) -> tuple[dict[str, PointUse], list[str]]:
    """(the point of each class of a KeyPointLabels control, classes without one)."""
    count = checkpoint.point_shape[0] if checkpoint.point_shape else 0
    default = COCO_POINTS if count == len(COCO_POINTS) else ()
    names = {each: (checkpoint.point_names or {}).get(each, default) for each in checkpoint.classes}
    points: dict[str, PointUse] = {}
    missing = []
    for tag in value_tags(config, control):
        wanted = {said.casefold() for said in tag.predicted_values}
        of = tuple(each for each in checkpoint.classes if not wanted or each.casefold() in wanted)
        if not of:
            raise DataError(
                f"control {control.name!r}: {tag.name!r} is a point of {_some(tag.predicted_values)}, and the model "
                f"knows {_some(checkpoint.classes)} only"
            )
        if "model_index" in tag.attributes:
            points[tag.name] = PointUse(_index(control, tag, count), of)
            continue
        found = {_plain(name): index for each in reversed(of) for index, name in reversed(list(enumerate(names[each])))}
        if _plain(tag.name) in found:
            points[tag.name] = PointUse(found[_plain(tag.name)], of)
        else:
            missing.append(tag.name)
    return points, missing


def _index(control: Control, tag: ValueTag, count: int) -> int:
    said = tag.attributes["model_index"].strip()
    if not said.isdecimal() or int(said) >= count:
        raise DataError(
            f"control {control.name!r}: expected the number of a point, 0 to {count - 1}, in "
            f'<Label value="{tag.name}" model_index="{said}"/>'
        )
    return int(said)


def _plain(name: str) -> str:
    """A point's name without what people write differently: case, blanks, hyphens and underscores."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:6]))
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown
