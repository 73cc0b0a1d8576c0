"""What the readers of text formats share: where read spans go in a config, splits by file names, our own manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig
from sync.formats.publishing import MANIFEST

_NAMES = {
    "val": ("val", "valid", "validation", "dev", "devel", "development", "testa"),
    "test": ("test", "testb", "eval", "evaluation"),
    "train": ("train", "training"),
}
_WORD = re.compile("[a-z]+")


class TextPlace:
    """Where what was read goes: one <Text> of a config, and the controls of these tags on it."""

    def __init__(self, config: LabelConfig, *tags: str) -> None:
        """DataError when the config has no such control on a <Text>; of several texts the first control's is taken."""
        fitting = [control for control in config.controls if control.tag in tags and control.object_tag == "Text"]
        if not fitting:
            raise DataError(
                f"the label config has no <{'> or <'.join(tags)}> on a <Text>; what was read has no place in it"
            )
        self.data_key = fitting[0].data_key
        self._controls = [control for control in fitting if control.to_name == fitting[0].to_name]

    def control_of(self, tag: str, label: str, wanted: Any = None) -> Control | None:
        """The control of a tag with a class, the one of the wanted name if it has it too; None where none has it."""
        found = [control for control in self._controls if control.tag == tag and label in control.classes]
        return next((control for control in found if control.name == wanted), found[0] if found else None)


def split_named(path: Path) -> str | None:
    """The split that a file's name says ("eng.testa", "wnut17train"), else that which its folder is named after."""
    words = _WORD.findall(path.stem.lower())
    for split, names in _NAMES.items():
        if not set(names).isdisjoint(words):
            return split
    return next((split for split, names in _NAMES.items() if path.parent.name.lower() in names), None)


def manifest_of(path: Path, format: str) -> Mapping[str, Any]:
    """The manifest of our own export of a format, at a folder or beside a file; empty where there is none."""
    for folder in (path, path.parent):
        try:
            manifest = orjson.loads((folder / MANIFEST).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        if isinstance(manifest, dict) and manifest.get("format") == format:
            return manifest
    return {}


def labels_of_manifest(manifest: Mapping[str, Any]) -> list[str]:
    """The classes that a manifest lists, in the order of the config that was exported."""
    labels = manifest.get("labels")
    return [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []
