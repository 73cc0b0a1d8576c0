"""The wide table of a classification: one row per task, and for each choice control its label, confidence and source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.datasets import Schema
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from sync.formats.examples import Example, labels_of
from sync.formats.format import Part
from sync.formats.label_table import OF_TASK, columns_of, told_of
from sync.formats.provenance import standing_of
from sync.formats.rows import ControlFacts

if TYPE_CHECKING:
    import polars as pl

CHOICES = ("Choices", "Taxonomy")
LABEL, CONFIDENCE, SOURCE = "label.", "confidence.", "source."


def task_choices(config: LabelConfig) -> tuple[Control, ...]:
    """The controls whose choices are about the task as a whole."""
    return tuple(control for control in config.controls if control.tag in CHOICES and not control.per_region)


def takes_several(control: Control) -> bool:
    """Whether a control's cell is a JSON list of labels rather than one label."""
    return control.tag == "Taxonomy" or control.attributes.get("choice") == "multiple"


def wide_columns(choices: Sequence[Control]) -> Schema:
    """The columns of the table without those of the data."""
    own = [
        (f"{prefix}{control.name}", type_)
        for control in choices
        for prefix, type_ in ((LABEL, "string"), (CONFIDENCE, "float64"), (SOURCE, "string"))
    ]
    return (*OF_TASK[:3], *own, *OF_TASK[3:])


class WideTable:
    """The rows of one part."""

    def __init__(self, choices: Sequence[Control], controls: Mapping[str, ControlFacts], part: Part, file: str) -> None:
        self._part, self._file = part, file
        self._choices = {control.name: (control, controls[control.name].class_ids) for control in choices}
        self._schema = wide_columns(choices)
        self._rows: list[tuple[Any, ...]] = []

    def add(self, example: Example) -> None:
        """The row of one task; each label is counted as an object of the file."""
        part = self._part
        found: dict[str, list[str]] = {}
        standing: dict[str, tuple[str, float | None]] = {}
        for region in example.result:
            name = str(region.get("from_name"))
            if name not in self._choices or not isinstance(region.get("value"), dict):
                part.skip(
                    example.task_id,
                    f"region {region.get('id')}: one row per task has no place for {region.get('type')}",
                )
                continue
            standing.setdefault(name, standing_of(example, region))
            self._add(example, region, name, found.setdefault(name, []))
        cells: list[Any] = []
        for name, (control, _) in self._choices.items():
            labels = found.get(name, [])
            source, confidence = standing.get(name, (None, None))
            several = takes_several(control)
            said = orjson.dumps(labels).decode() if several and labels else labels[0] if labels else None
            cells += [said, confidence, source]
        told = told_of(example)
        self._rows.append((*told[:3], *cells, *told[3:]))

    def _add(self, example: Example, region: Region, name: str, labels: list[str]) -> None:
        part = self._part
        control, class_ids = self._choices[name]
        for label in labels_of(region, control):
            if labels and not takes_several(control):
                part.skip(
                    example.task_id, f"region {region.get('id')}: {name} takes one choice, and has {label!r} besides"
                )
            elif label in labels:
                part.skip(example.task_id, f"region {region.get('id')}: {name} has {label!r} twice")
            else:
                labels.append(label)
                part.object(example, region, label, class_ids.get(label), self._file)

    def frame(self) -> tuple[pl.DataFrame, pl.Series]:
        """The rows, and of each the number of its task in this part."""
        import polars as pl

        columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema)
        return columns_of(self._schema, columns), pl.Series(range(len(self._rows)), dtype=pl.UInt32)
