"""Label configs with other class names: as datasets carry them, and as Label Studio shows them while it stores the old ones.

A config whose classes were never changed comes back as it is, letter by letter.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder, tostring

from defusedxml.ElementTree import DefusedXMLParser

from labelloop.class_schema import ClassEntry, ClassTable
from labelloop.label_config import CONTROL_TAGS, class_of


def dataset_config(xml: str, table: ClassTable) -> str:
    """The config whose classes are today's: renamed ones by their new name, merged ones once, retired ones left out."""
    root = _parsed(xml)
    changed = False
    for control in _controls(root):
        name = control.attrib.get("name", "")
        seen: set[str] = set()
        moved: set[str] = set()
        for parent, element in _values(control):
            stored = class_of(element)
            entry = table.find(name, stored)
            now = table.now(entry) if entry is not None else None
            target = stored if now is None else now.name if now.became is None else None
            if target is None or target in (seen if target != stored else moved):
                parent.remove(element)
                changed = True
                continue
            if target != stored:
                _name(element, target, None)
                moved.add(target)
                changed = True
            seen.add(target)
        for entry in _missing(table, name, seen):
            control.append(_value(control, entry))
            changed = True
    return _text(root) if changed else xml


def label_studio_config(xml: str, table: ClassTable) -> str:
    """The config that shows today's names to people and goes on storing what labels carry; new classes are at the end.

    Classes that were merged, split or retired stay: Label Studio does not let go of what its labels carry.
    """
    root = _parsed(xml)
    changed = False
    for control in _controls(root):
        name = control.attrib.get("name", "")
        there: set[str] = set()
        for _, element in _values(control):
            stored = class_of(element)
            entry = table.find(name, stored)
            if entry is None:
                continue
            there.add(entry.name)
            if entry.became is None and entry.name != stored and element.attrib.get("value") != entry.name:
                _name(element, entry.name, stored)
                changed = True
        for entry in _missing(table, name, there):
            control.append(_value(control, entry))
            changed = True
    return _text(root) if changed else xml


def _missing(table: ClassTable, control: str, there: set[str]) -> list[ClassEntry]:
    """The classes of a control that a command made and the config has not got yet."""
    return [
        entry
        for entry in table.of_control(control)
        if entry.became is None and not entry.in_config and not entry.vanished and entry.name not in there
    ]


def _parsed(xml: str) -> Element:
    """The tree with its comments, which people keep notes in."""
    parser = DefusedXMLParser(target=TreeBuilder(insert_comments=True))
    parser.feed(xml)
    root: Element = parser.close()
    return root


def _controls(root: Element) -> list[Element]:
    return [element for element in root.iter() if element.tag in CONTROL_TAGS]


def _values(control: Element) -> list[tuple[Element, Element]]:
    """(parent, element) of the <Label>s or <Choice>s of a control."""
    tag = CONTROL_TAGS[str(control.tag)][0]
    return [
        (parent, element)
        for parent in control.iter()
        for element in list(parent)
        if element.tag == tag and class_of(element)
    ]


def _name(element: Element, shown: str, stored: str | None) -> None:
    element.set("value", shown)
    element.attrib.pop("alias", None)
    if stored is not None:
        element.set("alias", stored)


def _value(control: Element, entry: ClassEntry) -> Element:
    element = Element(CONTROL_TAGS[str(control.tag)][0], {"value": entry.name})
    if len(control):
        element.tail = control[-1].tail
        if len(control) > 1:
            control[-1].tail = control[0].tail
    return element


def _text(root: Element) -> str:
    return tostring(root, encoding="unicode")
