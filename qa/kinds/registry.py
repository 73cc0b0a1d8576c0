"""Which kind of answer each control tag asks for, and why some are not measured."""

from __future__ import annotations

from importlib import import_module
from typing import cast
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from labelloop.label_config import Control, LabelConfig
from qa.kinds.kind import Kind

#: Kinds whose answers are classes of the task as a whole: models give a probability of each.
CLASS_KINDS = ("categories", "ratings", "sets")
#: What a <TextArea> is called whose text is about the labelling and no part of the label: nobody is held to the same words.
NOTES = ("comment", "comments", "note", "notes")
#: control tag -> (module of its kind below qa.kinds, name of the kind there)
_KINDS = {
    "Choices": ("categories", "CATEGORIES"),
    "Pairwise": ("categories", "CATEGORIES"),
    "Taxonomy": ("sets", "SETS"),
    "Rating": ("numbers", "RATINGS"),
    "Number": ("numbers", "NUMBERS"),
    "DateTime": ("numbers", "MOMENTS"),
    "RectangleLabels": ("boxes", "BOXES"),
    "Rectangle": ("boxes", "BOXES"),
    "EllipseLabels": ("boxes", "BOXES"),
    "Ellipse": ("boxes", "BOXES"),
    "PolygonLabels": ("polygons", "POLYGONS"),
    "Polygon": ("polygons", "POLYGONS"),
    "BrushLabels": ("masks", "MASKS"),
    "Brush": ("masks", "MASKS"),
    "KeyPointLabels": ("points", "POINTS"),
    "KeyPoint": ("points", "POINTS"),
    "Labels": ("spans", "SPANS"),
    "HyperTextLabels": ("spans", "SPANS"),
    "ParagraphLabels": ("spans", "SPANS"),
    "TextArea": ("texts", "TEXTS"),
    "Ranker": ("rankings", "RANKINGS"),
}


def kind_of(control: Control) -> Kind | None:
    """The kind of a control's answers; None where it can't be measured (`why_unmeasured` says why)."""
    return None if control.per_region else _kind(control)


def measurable(config: LabelConfig) -> list[tuple[Control, Kind]]:
    """The controls of a config that can be measured, in its order."""
    places = {element.attrib.get("name", ""): at for at, element in enumerate(_elements(config))}
    found = [(control, kind_of(control)) for control in (*config.controls, *config.answers)]
    known = [(control, kind) for control, kind in found if kind is not None]
    return sorted(known, key=lambda each: places.get(each[0].name, len(places)))


def unmeasured(config: LabelConfig) -> list[dict[str, str]]:
    """The controls of a config that are not measured: `control`, `tag` and the `reason`."""
    controls = {control.name: control for control in (*config.controls, *config.answers)}
    said = []
    for element in _elements(config):
        name = element.attrib.get("name", "")
        if "toName" not in element.attrib:
            continue
        reason = why_unmeasured(controls[name]) if name in controls else f"agreement on <{element.tag}> is not measured"
        if reason is not None:
            said.append({"control": name, "tag": element.tag, "reason": reason})
    return said


def why_unmeasured(control: Control) -> str | None:
    """Why a control is not measured; None when it is."""
    if _is_beside_shapes(control):
        return f"the classes of <Labels> on <{control.object_tag}> are measured with the shapes that carry them"
    if _is_note(control):
        return "what people note about a task is no part of its label"
    if _kind(control) is None:
        return f"agreement on <{control.tag}> is not measured"
    return "answers about single regions are not measured: people's regions differ" if control.per_region else None


def _kind(control: Control) -> Kind | None:
    tag, several = control.tag, control.attributes.get("choice") == "multiple"
    if _is_beside_shapes(control) or _is_note(control):
        return None
    # Without `choice` Label Studio lets people pick one.
    module, name = ("sets", "SETS") if tag == "Choices" and several else _KINDS.get(tag, ("", ""))
    return cast(Kind, getattr(import_module(f"qa.kinds.{module}"), name)) if module else None


def _is_beside_shapes(control: Control) -> bool:
    """Whether it only names the classes of what a <Brush>, <Rectangle> or other shape without classes draws."""
    return control.tag == "Labels" and control.object_tag in ("Image", "Video")


def _is_note(control: Control) -> bool:
    """Whether it takes what people want to say about a task, beside their answer."""
    return control.tag == "TextArea" and control.name.casefold() in NOTES


def _elements(config: LabelConfig) -> list[Element]:
    root: Element = ElementTree.fromstring(config.xml)
    return list(root.iter())
