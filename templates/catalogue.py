"""Reads the templates: a label config whose classes can be exchanged, the defaults of the loop, a guideline, samples."""

from __future__ import annotations

import colorsys
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import quoteattr

import yaml
from pydantic import ValidationError

from labelloop.errors import DataError, UsageError
from labelloop.label_config import CONTROL_TAGS, Control, parse_label_config
from labelloop.settings import ProjectSettings

#: Between the steps of a class that lies below others: "Delivery / Late" in a taxonomy.
STEP = " / "
_KEYS = ("title", "task_type", "backend", "control", "data_key", "classes", "quality", "active_learning", "export")
_SECTIONS = ("quality", "active_learning", "export")
_SHOWN = re.compile(r'\bvalue="\$(\w+)"')


@dataclass(frozen=True)
class Template:
    """One template. `config` has its example classes; `config_for(classes)` is what Label Studio gets for others.

    `backend` is None where no backend answers for such a config, `example_classes` is empty where its control has none.
    `defaults` has the sections quality, active_learning and export as in labelloop.yaml; `samples` are tasks to import.
    """

    name: str
    title: str
    task_type: str
    backend: str | None
    control: str
    data_key: str
    config: str
    example_classes: tuple[str, ...]
    defaults: Mapping[str, Mapping[str, Any]]
    guideline: str
    samples: tuple[Mapping[str, Any], ...]

    @property
    def data_keys(self) -> tuple[str, ...]:
        """The keys of a task's data that the config shows."""
        return tuple(dict.fromkeys(_SHOWN.findall(self.config)))

    def config_for(self, classes: Sequence[str]) -> str:
        """The label config with these classes, in this order; the example's own is the file as it is.

        UsageError for an empty, blank or doubled class, and for classes where the template has none. A class of a taxonomy may
        be a path, as "Delivery / Late".
        """
        if not self.example_classes and not isinstance(classes, str):
            if classes:
                raise UsageError(
                    f"the template {self.name!r} takes no classes, as <{self.control}> asks for none; got {classes[0]!r}"
                )
            return self.config
        checked = _checked_classes(classes, self.control == "Taxonomy")
        if tuple(checked) == self.example_classes:
            return self.config
        return _with_classes(self.name, self.config, self.control, checked)


def _with_classes(name: str, config: str, control: str, classes: Sequence[str]) -> str:
    """The config with these classes in the place of what its control holds."""
    found = list(re.finditer(rf'(<{control}\b(?:"[^"]*"|[^">])*(?<!/)>)(.*?)(\s*</{control}>)', config, re.DOTALL))
    if len(found) != 1:
        raise DataError(f"template {name}: config.xml must have one <{control}> with its classes, not {len(found)}")
    head, body, tail = found[0].groups()
    lead = re.match(r"\s*", body)
    indent = lead.group() if lead else ""
    values = indent + indent.join(_value_tags(control, classes)) if indent else "".join(_value_tags(control, classes))
    return config[: found[0].start()] + head + values + tail + config[found[0].end() :]


def _value_tags(control: str, classes: Sequence[str]) -> list[str]:
    """A line for each class, with its colour where regions are drawn; those of a taxonomy inside each other."""
    tag = CONTROL_TAGS[control][0]
    if control == "Taxonomy":
        tree: dict[str, Any] = {}
        for path in classes:
            branch = tree
            for step in path.split(STEP):
                branch = branch.setdefault(step, {})
        return _nested(tag, tree)
    if tag != "Label":
        return [f"<{tag} value={quoteattr(name)}/>" for name in classes]
    colours = distinct_colours(len(classes))
    return [
        f'<{tag} value={quoteattr(name)} background="{colour}"/>'
        for name, colour in zip(classes, colours, strict=True)
    ]  # fmt: skip


def _nested(tag: str, tree: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, below in tree.items():
        if below:
            inner = [f"  {line}" for line in _nested(tag, below)]
            lines += [f"<{tag} value={quoteattr(name)}>", *inner, f"</{tag}>"]
        else:
            lines.append(f"<{tag} value={quoteattr(name)}/>")
    return lines


def _checked_classes(classes: Sequence[str], with_steps: bool = False) -> list[str]:
    if isinstance(classes, str) or not classes:
        raise UsageError("expected a list of at least one class, as in project.classes: [cat, dog]")
    for name in classes:
        for step in name.split(STEP) if with_steps else [name]:
            if not step.strip() or step != step.strip() or not step.isprintable():
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
    try:
        raw = yaml.safe_load(folder.joinpath("template.yaml").read_text(encoding="utf-8"))
        config = folder.joinpath("config.xml").read_text(encoding="utf-8")
        guideline = folder.joinpath("guideline.md").read_text(encoding="utf-8")
        samples = json.loads(folder.joinpath("sample.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"template {name}: {error}") from error
    return _template(name, raw, config, guideline, samples)


def _template(name: str, raw: Any, config: str, guideline: str, samples: Any) -> Template:
    """A template from the content of its four files; DataError says what is wrong with them."""
    if not isinstance(raw, dict) or set(raw) != set(_KEYS):
        raise DataError(f"template {name}: template.yaml must have exactly the keys {', '.join(_KEYS)}")
    defaults = {section: dict(raw[section] or {}) for section in _SECTIONS}
    try:
        ProjectSettings.model_validate(defaults)
    except ValidationError as error:
        raise DataError(f"template {name}: template.yaml: {error}") from error
    template = Template(
        name=name,
        title=str(raw["title"]),
        task_type=str(raw["task_type"]),
        backend=None if raw["backend"] is None else str(raw["backend"]),
        control=str(raw["control"]),
        data_key=str(raw["data_key"]),
        config=config,
        example_classes=tuple(map(str, raw["classes"] or ())),
        defaults=MappingProxyType({section: MappingProxyType(values) for section, values in defaults.items()}),
        guideline=guideline,
        samples=_checked_samples(name, samples),
    )
    parsed = parse_label_config(config)
    control = next((each for each in (*parsed.controls, *parsed.answers) if each.tag == template.control), None)
    if control is None or control.data_key != template.data_key or not _has_classes(control, template.example_classes):
        raise DataError(f"template {name}: config.xml and template.yaml differ in control, data_key or classes")
    if template.example_classes:
        _with_classes(name, config, template.control, template.example_classes)
    for at, sample in enumerate(template.samples):
        lacking = [key for key in template.data_keys if key not in sample["data"]]
        if lacking:
            raise DataError(f"template {name}: task {at} of sample.json lacks {lacking[0]!r}, which config.xml shows")
    return template


def _checked_samples(name: str, samples: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(samples, list) or not all(
        isinstance(each, dict) and set(each) == {"data"} and isinstance(each["data"], dict) for each in samples
    ):
        raise DataError(f'template {name}: sample.json must be a list of tasks, as [{{"data": {{"text": "..."}}}}]')
    return tuple(samples)


def _has_classes(control: Control, classes: Sequence[str]) -> bool:
    """Whether a control holds these classes and no others; in a taxonomy also what is above them."""
    if control.tag != "Taxonomy":
        return control.classes == tuple(classes)
    paths = [tuple(name.split(STEP)) for name in classes]
    return control.paths == {path[:length] for path in paths for length in range(1, len(path) + 1)}
