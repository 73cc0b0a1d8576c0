"""Regions that are Label Studio's already, put under the controls of a config; and a config for regions that have none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelloop.errors import DataError
from labelloop.label_config import CONTROL_TAGS, LabelConfig, parse_label_config
from labelloop.values import Region
from sync.formats.reading import WantedControl, config_for, control_for

CONFIG = "config.xml"
TAGS = {region_type: tag for tag, (_, region_type, _) in CONTROL_TAGS.items()}
"""Region type -> tag of its control."""
#: What regions of a type are drawn on; choices are made on anything.
_OBJECTS = {
    **dict.fromkeys(("rectanglelabels", "polygonlabels", "brushlabels", "keypointlabels", "ellipselabels"), "Image"),
    "hypertextlabels": "HyperText",
    "labels": "Text",
}
_IMAGE_KEYS, _TEXT_KEYS = ("image", "img", "image_url", "url"), ("text",)
#: Characters that no XML document may hold.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


def fitted(region: Region, config: LabelConfig) -> Region | str:
    """The region under its own control of a config, else under the first that has its tag and class; or why there is none."""
    kind, value = str(region.get("type")), region.get("value")
    labels = value.get(kind) if isinstance(value, Mapping) else None
    first = labels[0] if isinstance(labels, list) and labels and isinstance(labels[0], str) else None
    own = next((c for c in config.controls if c.name == region.get("from_name") and c.region_type == kind), None)
    if own is None or (first is not None and first not in own.classes):
        tag = TAGS.get(kind)
        if tag is None:
            return f"{kind} is no region with classes"
        own = control_for(config, [tag], first) or own
    if own is None:
        return f"the label config has no <{TAGS[kind]}>" + (f" with {first!r}" if first is not None else "")
    placed = {**region, "from_name": own.name, "to_name": own.to_name}
    return config.problem_with(placed) or placed


def config_beside(folder: Path) -> LabelConfig | None:
    """The label config that lies in a folder as config.xml, None where there is none; DataError when it is broken."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        return parse_label_config(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise DataError(f"{path} is no label config ({error}); put it right, or name another with --config") from error


@dataclass
class _Seen:
    """What is known of one control: its region type, its classes with their ids, and whether it takes several at once."""

    kind: str
    classes: dict[str, int | None] = field(default_factory=dict)
    several: bool = False


class ConfigMaker:
    """Makes a label config of regions as they come; classes in the order of their ids, else as they come."""

    def __init__(self) -> None:
        self._controls: dict[str, _Seen] = {}
        self._on: Counter[str] = Counter()
        self._images: Counter[str] = Counter()
        self._texts: Counter[str] = Counter()

    def add(self, data: Mapping[str, Any], regions: Iterable[Region], ids: Mapping[tuple[str, str], int]) -> None:
        """One item: its data, its regions, and the id of each (control, class) where it is known."""
        for key, value in data.items():
            if isinstance(value, str) and value:
                (self._images if value.lower().partition("?")[0].endswith(IMAGE_SUFFIXES) else self._texts)[key] += 1
        for region in regions:
            kind, value = str(region.get("type")), region.get("value")
            labels = value.get(kind) if isinstance(value, Mapping) else None
            if kind not in TAGS or kind == "taxonomy" or not isinstance(labels, list):
                continue  # how a taxonomy branches is known to its config alone
            name = str(region.get("from_name") or "label")
            if self._controls.setdefault(name, _Seen(kind)).kind != kind:
                name = f"{name}-{kind}"
            seen = self._controls.setdefault(name, _Seen(kind))
            seen.several |= len(labels) > 1
            for label in labels:
                if isinstance(label, str) and not _NO_XML.search(label):
                    seen.classes.setdefault(label, ids.get((name, label)))
            self._on[_OBJECTS.get(kind, "")] += 1

    def made(self) -> LabelConfig:
        """The config; DataError when no region has a class."""
        if not self._controls:
            raise DataError("no label is in the files, so no label config can be made of them; name one with --config")
        drawn = [object_tag for object_tag, _ in self._on.most_common() if object_tag]
        only_choices = "Image" if self._images.total() >= self._texts.total() and self._images else "Text"
        object_tag = drawn[0] if drawn else only_choices
        wanted = [
            WantedControl(TAGS[seen.kind], name, _in_order(seen.classes), _attributes(seen))
            for name, seen in self._controls.items()
            if _OBJECTS.get(seen.kind, object_tag) == object_tag
        ]
        return config_for(object_tag, self._data_key(object_tag), wanted)

    def _data_key(self, object_tag: str) -> str:
        """The key with what is shown: by its name, else the one that most tasks have."""
        names, found = (_IMAGE_KEYS, self._images) if object_tag == "Image" else (_TEXT_KEYS, self._texts)
        for name in names:
            if found[name] or (name in self._images or name in self._texts):
                return name
        return found.most_common(1)[0][0] if found else names[0]


def _in_order(classes: Mapping[str, int | None]) -> list[str]:
    known = sorted((number, name) for name, number in classes.items() if number is not None)
    return [name for _, name in known] + [name for name, number in classes.items() if number is None]


def _attributes(seen: _Seen) -> dict[str, str]:
    return {"choice": "multiple"} if seen.kind == "choices" and seen.several else {}
