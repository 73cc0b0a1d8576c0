"""Reads the templates: a label config to fill with classes, the defaults of the loop, a guideline for annotators."""

from __future__ import annotations

import colorsys
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import quoteattr

import yaml
from pydantic import ValidationError

from labelloop.errors import DataError, UsageError
from labelloop.label_config import CONTROL_TAGS, parse_label_config
from labelloop.settings import ProjectSettings

PLACEHOLDER = "<!-- classes -->"
_KEYS = ("title", "task_type", "backend", "control", "data_key", "classes", "quality", "active_learning", "export")
_SECTIONS = ("quality", "active_learning", "export")


@dataclass(frozen=True)
class Template:
    """One template. `config` still holds the placeholder; `config_for(classes)` is what Label Studio gets.

    `defaults` has the sections quality, active_learning and export as in labelloop.yaml.
    """

    name: str
    title: str
    task_type: str
    backend: str
    control: str
    data_key: str
    config: str
    example_classes: tuple[str, ...]
    defaults: Mapping[str, Mapping[str, Any]]
    guideline: str

    def config_for(self, classes: Sequence[str]) -> str:
        """The label config with these classes, in this order; UsageError for an empty, blank or doubled class."""
        checked = _checked_classes(classes)
        tag = CONTROL_TAGS[self.control][0]
        colours = distinct_colours(len(checked))
        with_colour = {"Label": "background"}.get(tag)
        lines = [
            f"<{tag} value={quoteattr(name)}" + (f' {with_colour}="{colour}"' if with_colour else "") + "/>"
            for name, colour in zip(checked, colours, strict=True)
        ]
        head, _, tail = self.config.partition(PLACEHOLDER)
        indent = " " * (len(head) - len(head.rstrip(" ")))
        return head + f"\n{indent}".join(lines) + tail


def _checked_classes(classes: Sequence[str]) -> list[str]:
    if isinstance(classes, str) or not classes:
        raise UsageError("expected a list of at least one class, as in project.classes: [cat, dog]")
    for name in classes:
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise UsageError(f"{name!r} is no class name: expected printable text without blanks around it")
    doubled = sorted({name for name in classes if list(classes).count(name) > 1})
    if doubled:
        raise UsageError(f"the class {doubled[0]!r} is listed twice; list each class once")
    return list(classes)


def distinct_colours(count: int) -> list[str]:
    """`count` different colours as #rrggbb; neighbours in the list are far apart in hue."""
    colours: list[str] = []
    for index in range(count):
        hue = (index * 0.618033988749895) % 1.0
        lightness = (0.45, 0.6, 0.35)[index // 12 % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.75)
        colours.append(f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}")
    return colours


def list_templates() -> list[str]:
    """The names of the templates, sorted."""
    return sorted(each.name for each in files("templates").iterdir() if each.joinpath("template.yaml").is_file())


def load_template(name: str) -> Template:
    """The template of that name; UsageError names the nearest one there is."""
    known = list_templates()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"no template {name!r}; {hint}Known templates: {', '.join(known)}")
    folder = files("templates").joinpath(name)
    return _template(
        name,
        yaml.safe_load(folder.joinpath("template.yaml").read_text(encoding="utf-8")),
        folder.joinpath("config.xml").read_text(encoding="utf-8"),
        folder.joinpath("guideline.md").read_text(encoding="utf-8"),
    )


def _template(name: str, raw: Any, config: str, guideline: str) -> Template:
    """A template from the content of its three files; DataError says what is wrong with them."""
    if not isinstance(raw, dict) or set(raw) != set(_KEYS):
        raise DataError(f"template {name}: template.yaml must have exactly the keys {', '.join(_KEYS)}")
    if config.count(PLACEHOLDER) != 1:
        raise DataError(f"template {name}: config.xml must hold {PLACEHOLDER} once")
    defaults = {section: dict(raw[section] or {}) for section in _SECTIONS}
    try:
        ProjectSettings.model_validate(defaults)
    except ValidationError as error:
        raise DataError(f"template {name}: template.yaml: {error}") from error
    template = Template(
        name=name,
        title=str(raw["title"]),
        task_type=str(raw["task_type"]),
        backend=str(raw["backend"]),
        control=str(raw["control"]),
        data_key=str(raw["data_key"]),
        config=config,
        example_classes=tuple(map(str, raw["classes"])),
        defaults=MappingProxyType({section: MappingProxyType(values) for section, values in defaults.items()}),
        guideline=guideline,
    )
    control = parse_label_config(template.config_for(template.example_classes)).first(template.control)
    if control.data_key != template.data_key or control.classes != template.example_classes:
        raise DataError(f"template {name}: config.xml and template.yaml differ in data_key or classes")
    return template
