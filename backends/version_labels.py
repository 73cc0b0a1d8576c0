"""labels.json of a model version: what it was trained for and what people are shown, one shape for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from labelloop.errors import DataError

LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class VersionLabels:
    """The control that a version was trained for, its classes in the order of the config, and what is shown of each."""

    control: str
    to_name: str
    data_key: str
    type: str
    classes: tuple[str, ...]
    show_threshold: Mapping[str, float]
    calibrated: bool = False
    temperature: float = 1.0


def write_labels(folder: Path, labels: VersionLabels) -> None:
    """Write labels.json into the folder of a version."""
    (folder / LABELS_FILE).write_bytes(orjson.dumps(asdict(labels), option=orjson.OPT_INDENT_2))


def read_labels(folder: Path, region_type: str) -> VersionLabels:
    """labels.json of a version; DataError when it is absent, broken or made for regions of another type."""
    try:
        raw = orjson.loads((folder / LABELS_FILE).read_bytes())
        labels = VersionLabels(**{**raw, "classes": tuple(raw["classes"])})
        thresholds = {str(name): float(value) for name, value in labels.show_threshold.items()}
    except (OSError, orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise DataError(f"{folder} holds no readable {LABELS_FILE}: {error}; train this version again") from error
    if labels.type != region_type:
        raise DataError(f"{folder} was trained for regions of type {labels.type!r}, expected {region_type!r}")
    missing = [name for name in labels.classes if name not in thresholds]
    if missing:
        raise DataError(f"{folder}/{LABELS_FILE} has no show threshold for {missing[0]!r}; train this version again")
    return labels


def thresholds_of(folder: Path) -> dict[str, float]:
    """`show_threshold` per class of a version; empty when it names none. DataError when the file is broken."""
    file = folder / LABELS_FILE
    if not file.is_file():
        return {}
    try:
        shown = orjson.loads(file.read_bytes()).get("show_threshold") or {}
        return {str(name): float(value) for name, value in shown.items()}
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{LABELS_FILE} of {folder.name[:12]} does not hold show_threshold: {{class: number}}"
        ) from error
