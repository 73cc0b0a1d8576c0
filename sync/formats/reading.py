"""Labelled data from elsewhere, read as Label Studio's regions: the way of every format into tasks and into other formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelloop.errors import UsageError
from labelloop.label_config import CONTROL_TAGS, Control, LabelConfig, parse_label_config
from labelloop.values import Region
from sync.formats.registry import load_format, load_reader


@dataclass(frozen=True)
class LabelledItem:
    """One item with its labels.

    `data` is a task's data; `media` the local file to show under `media_key`, where the item is an image that is at hand
    (else `data[media_key]` names it). `result` are regions that fit the config of what was opened; empty: looked at, and
    nothing is there. `size` is the image's (width, height). `split` is "train", "val", "test" or None. `source` says
    where it stands ("annotations.json, image 7"). `annotator` and `at` (ISO time) where the files know them.
    """

    data: Mapping[str, Any]
    result: list[Region]
    source: str
    media: Path | None = None
    media_key: str = "image"
    size: tuple[int, int] | None = None
    split: str | None = None
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    annotator: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Unread:
    """An item or a part of one that could not be read; `reason` is a short code, `detail` a sentence."""

    source: str
    reason: str
    detail: str


@dataclass
class Labelled:
    """Labelled data opened for reading. While it is iterated, what cannot be read is collected in `rejected`.

    `config` holds the regions: the one that was given, or one made of the classes found. `losses` tells what this format
    could not say. `count` is the number of items where it is known beforehand.
    """

    config: LabelConfig
    items: Callable[[list[Unread]], Iterator[LabelledItem]]
    losses: tuple[str, ...] = ()
    count: int | None = None
    rejected: list[Unread] = field(default_factory=list)

    def __iter__(self) -> Iterator[LabelledItem]:
        return self.items(self.rejected)


def read_labelled(
    path: Path, format: str, *, task: str | None = None, config: LabelConfig | None = None, images: Path | None = None
) -> Labelled:
    """Open labelled data of a format.

    `task` is the variant (default: what the files look like), `config` the label config that the regions must fit
    (default: made of the classes in the files), `images` the folder of the images where the files do not name it.
    UsageError for an unknown format or task, DataError when the files are not of it.
    """
    form = load_format(format)
    if task is not None and task not in form.tasks:
        raise UsageError(f"the format {format} has the tasks {list(form.tasks)}, got {task!r}")
    return load_reader(format)(path, task=task, config=config, images=images)


# -- a config for what was found --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WantedControl:
    """A control that found labels need: its tag, classes, and more attributes."""

    tag: str
    name: str
    classes: Sequence[str]
    attributes: Mapping[str, str] = field(default_factory=dict)


def config_for(object_tag: str, data_key: str, controls: Sequence[WantedControl]) -> LabelConfig:
    """A label config with one object (`Image` or `Text`, named like its data key) and these controls."""
    from xml.sax.saxutils import quoteattr

    lines = ["<View>", f"  <{object_tag} name={quoteattr(data_key)} value={quoteattr('$' + data_key)}/>"]
    for control in controls:
        value_tag = CONTROL_TAGS[control.tag][0]
        more = "".join(f" {name}={quoteattr(value)}" for name, value in control.attributes.items())
        lines.append(f"  <{control.tag} name={quoteattr(control.name)} toName={quoteattr(data_key)}{more}>")
        lines += [f"    <{value_tag} value={quoteattr(name)}/>" for name in control.classes]
        lines.append(f"  </{control.tag}>")
    return parse_label_config("\n".join([*lines, "</View>"]) + "\n")


def control_for(config: LabelConfig, tags: Sequence[str], label: str | None = None) -> Control | None:
    """The first control with one of these tags (in their order) that has the class; None where there is none."""
    for tag in tags:
        for control in config.controls:
            if control.tag == tag and (label is None or label in control.classes):
                return control
    return None


def region_for(
    control: Control, number: int, value: Mapping[str, Any], labels: Sequence[str], size: tuple[int, int] | None = None
) -> Region:
    """A region under a control; `number` makes its id, `size` is the image's (width, height) in pixels."""
    sized = {"original_width": size[0], "original_height": size[1], "image_rotation": 0} if size is not None else {}
    return {
        "id": f"r{number}",
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.region_type,
        **sized,
        "value": {**value, control.value_key: list(labels)},
        "origin": "manual",
    }
