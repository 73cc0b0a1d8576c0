"""labels.json of a model version: the controls it was trained for and what people are shown, one shape for every backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError

LABELS_FILE = "labels.json"
#: Show threshold by class, by control.
Thresholds = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ControlLabels:
    """One control that a version answers for, its classes in the order of the config, and what is shown of each.

    `calibrated` says that scores are probabilities; `temperature` is what scaled them.
    """

    control: str
    to_name: str
    data_key: str
    type: str
    classes: tuple[str, ...]
    show_threshold: Mapping[str, float]
    calibrated: bool = False
    temperature: float = 1.0


def write_labels(folder: Path, controls: Sequence[ControlLabels]) -> None:
    """Write labels.json into the folder of a version."""
    body = {"controls": [asdict(control) for control in controls]}
    (folder / LABELS_FILE).write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))


def read_labels(folder: Path, *types: str) -> tuple[ControlLabels, ...]:
    """The controls of a version; DataError when labels.json is absent, broken or names regions of another type."""
    try:
        controls = tuple(_control(raw) for raw in orjson.loads((folder / LABELS_FILE).read_bytes())["controls"])
    except (OSError, orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise DataError(f"{folder} holds no readable {LABELS_FILE}: {error}; train this version again") from error
    if not controls:
        raise DataError(f"{folder}/{LABELS_FILE} names no control; train this version again")
    for control in controls:
        if types and control.type not in types:
            raise DataError(
                f"{folder} was trained for regions of type {control.type!r}, expected {' or '.join(map(repr, types))}"
            )
        missing = [name for name in control.classes if name not in control.show_threshold]
        if missing:
            raise DataError(
                f"{folder}/{LABELS_FILE} has no show threshold for {missing[0]!r}; train this version again"
            )
    return controls


def _control(raw: Mapping[str, Any]) -> ControlLabels:
    thresholds = {str(name): float(value) for name, value in raw["show_threshold"].items()}
    return ControlLabels(**{**raw, "classes": tuple(map(str, raw["classes"])), "show_threshold": thresholds})


def thresholds_of(folder: Path) -> Thresholds:
    """Show threshold by class by control of a version; DataError when labels.json is absent or broken."""
    return {control.control: control.show_threshold for control in read_labels(folder)}
