"""A project's label config read once: its controls, their classes, and whether a region fits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from labelloop.errors import DataError
from labelloop.region_checks import problem_with_region
from labelloop.values import Region

#: control tag -> (tag of its values, `type` of its regions, key of the labels in `value`)
CONTROL_TAGS = {
    "RectangleLabels": ("Label", "rectanglelabels", "rectanglelabels"),
    "PolygonLabels": ("Label", "polygonlabels", "polygonlabels"),
    "BrushLabels": ("Label", "brushlabels", "brushlabels"),
    "KeyPointLabels": ("Label", "keypointlabels", "keypointlabels"),
    "EllipseLabels": ("Label", "ellipselabels", "ellipselabels"),
    "Labels": ("Label", "labels", "labels"),
    "HyperTextLabels": ("Label", "hypertextlabels", "hypertextlabels"),
    "ParagraphLabels": ("Label", "paragraphlabels", "paragraphlabels"),
    "Choices": ("Choice", "choices", "choices"),
    "Taxonomy": ("Choice", "taxonomy", "taxonomy"),
}

#: control tag without classes -> (`type` of its regions, key of the answer in `value`)
ANSWER_TAGS = {
    "Rating": ("rating", "rating"),
    "Number": ("number", "number"),
    "DateTime": ("datetime", "datetime"),
    "Pairwise": ("pairwise", "selected"),
    "Ranker": ("ranker", "ranker"),
    "TextArea": ("textarea", "text"),
    "Rectangle": ("rectangle", "rectanglelabels"),
    "Ellipse": ("ellipse", "ellipselabels"),
    "Polygon": ("polygon", "polygonlabels"),
    "Brush": ("brush", "brushlabels"),
    "KeyPoint": ("keypoint", "keypointlabels"),
}


@dataclass(frozen=True)
class Control:
    """One control tag: its name, what it labels, and its classes in the order of the config."""

    tag: str
    name: str
    to_name: str
    data_key: str
    object_tag: str
    classes: tuple[str, ...]
    attributes: dict[str, str] = field(default_factory=dict, compare=False)
    listed: bool = False
    """Whether `data_key` names a list of addresses (an object tag with `valueList`)."""
    predicted_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """By class, what models call it: the `predicted_values` of its <Label> or <Choice>, a list with commas."""
    object_attributes: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The attributes of the object tag that it labels."""
    paths: frozenset[tuple[str, ...]] = frozenset()
    """Where each class stands below the others; one step each, but for a taxonomy."""
    stored_as: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What is stored for the classes that people see under another name: the alias by the value."""

    @property
    def per_region(self) -> bool:
        """Whether it is about single regions rather than the task as a whole."""
        return self.attributes.get("perRegion", "").lower() == "true"

    @cached_property
    def region_type(self) -> str:
        return (CONTROL_TAGS.get(self.tag) or ("", *ANSWER_TAGS[self.tag]))[1]

    @cached_property
    def value_key(self) -> str:
        return (CONTROL_TAGS.get(self.tag) or ("", *ANSWER_TAGS[self.tag]))[2]


@dataclass(frozen=True)
class LabelConfig:
    """A parsed label config; `controls` holds the tags that carry classes, `answers` those without, in document order."""

    xml: str
    controls: tuple[Control, ...]
    answers: tuple[Control, ...] = ()

    def control(self, name: str) -> Control:
        """The control of that name; DataError names those there are."""
        for control in self.controls:
            if control.name == name:
                return control
        raise DataError(f"no control named {name!r} in the label config; it has {[c.name for c in self.controls]}")

    def first(self, *tags: str) -> Control:
        """The first control with one of these tags; DataError says which tags were looked for."""
        for control in self.controls:
            if control.tag in tags:
                return control
        raise DataError(f"the label config has none of {list(tags)}; add one, or connect another backend")

    def media_addresses(self, data: Mapping[str, Any]) -> list[str]:
        """The addresses of a task's images, in the order of the config, each once; what is no text is left out."""
        found: dict[str, None] = {}
        for control in self.controls:
            if control.object_tag == "Image":
                value = data.get(control.data_key)
                addresses = value if control.listed and isinstance(value, list) else [value]
                found.update(dict.fromkeys(a for a in addresses if isinstance(a, str) and a))
        return list(found)

    @property
    def has_media(self) -> bool:
        """Whether tasks of this config are images."""
        return any(control.object_tag == "Image" for control in self.controls)

    def problem_with(self, region: Region) -> str | None:
        """Why Label Studio would not show a region as it is, or None: an unknown control or class, a bad number or shape."""
        control = next((c for c in self.controls if c.name == region.get("from_name")), None)
        if control is None:
            return f"unknown control {region.get('from_name')!r}"
        if region.get("to_name") != control.to_name or region.get("type") != control.region_type:
            return f"{control.name} labels {control.to_name!r} with type {control.region_type!r}"
        return problem_with_region(control, region)

    def as_stored(self, region: Region) -> Region:
        """The region with its classes as Label Studio stores them: one that is shown by another name goes by its alias."""
        control = next((c for c in self.controls if c.stored_as and c.name == region.get("from_name")), None)
        value = region.get("value")
        labels = value.get(control.value_key) if control is not None and isinstance(value, Mapping) else None
        if control is None or not isinstance(labels, list):
            return region
        stored = [
            [_stored(control, step) for step in label] if isinstance(label, list) else _stored(control, label)
            for label in labels
        ]
        return {**region, "value": {**region["value"], control.value_key: stored}}


def parse_label_config(xml: str) -> LabelConfig:
    """Read a label config; DataError when it is no XML or a control names no object tag."""
    try:
        root: Element = ElementTree.fromstring(xml)
    except (ParseError, DefusedXmlException) as error:
        raise DataError(f"the label config is not valid XML: {error}") from error
    objects = {
        element.attrib["name"]: (
            element.tag,
            element.attrib.get("valueList") or element.attrib.get("value", ""),
            bool(element.attrib.get("valueList")),
            dict(element.attrib),
        )
        for element in root.iter()
        if "name" in element.attrib and "toName" not in element.attrib
    }
    controls: list[Control] = []
    answers: list[Control] = []
    for element in root.iter():
        name, to_name = element.attrib.get("name", ""), element.attrib.get("toName", "")
        # A <Pairwise> names both of what it compares. It stands under the first: Label Studio takes suggestions so, though the
        # editor's own results name the control itself.
        answered = to_name.partition(",")[0].strip()
        if element.tag in ANSWER_TAGS and answered in objects:
            object_tag, value, listed, attributes = objects[answered]
            answers.append(
                Control(
                    element.tag, name, answered, value.lstrip("$"), object_tag, (), dict(element.attrib), listed,
                    object_attributes=attributes,
                )
            )  # fmt: skip
        if element.tag not in CONTROL_TAGS:
            continue
        if to_name not in objects:
            raise DataError(f"<{element.tag} name={name!r}> labels {to_name!r}, and the config has no such object tag")
        object_tag, value, listed, attributes = objects[to_name]
        value_tag = CONTROL_TAGS[element.tag][0]
        said = {
            called: _listed(child.attrib.get("predicted_values", ""))
            for child in element.iter(value_tag)
            if (called := class_of(child))
        }
        controls.append(
            Control(
                element.tag,
                name,
                to_name,
                value.lstrip("$"),
                object_tag,
                tuple(said),
                dict(element.attrib),
                listed,
                {name: names for name, names in said.items() if names},
                attributes,
                frozenset(_paths(element, value_tag)),
                {
                    child.attrib["value"]: child.attrib["alias"]
                    for child in element.iter(value_tag)
                    if child.attrib.get("alias") and child.attrib.get("value") not in (None, *said)
                },
            )
        )
    return LabelConfig(xml, tuple(controls), tuple(answers))


def read_label_config(file: Path) -> LabelConfig:
    """The label config in a file; DataError when there is none that can be read."""
    try:
        return parse_label_config(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--config: {file} can't be read as a label config (XML in UTF-8): {error}") from error


def _stored(control: Control, label: Any) -> Any:
    return control.stored_as.get(label, label) if isinstance(label, str) and label not in control.classes else label


def class_of(element: Element) -> str:
    """What results carry: the alias, or the value where there is none."""
    return element.attrib.get("alias") or element.attrib.get("value", "")


def _paths(element: Element, value_tag: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for child in element:
        name = class_of(child) if child.tag == value_tag else ""
        path = (*above, name) if name else above
        if name:
            yield path
        yield from _paths(child, value_tag, path)


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())
