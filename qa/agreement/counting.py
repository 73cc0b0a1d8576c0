"""Which labels count for agreement, and what they say under each control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import polars as pl

from labelloop.errors import DataError
from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.categories import sure
from qa.kinds.kind import Compared, Kind, Readings
from qa.measures.ratings import Ints

REQUIRED_COLUMNS = ("task_id", "annotation_id", "annotator", "at", "shown", "result")


def current_labels(labels: pl.DataFrame, *, gold: bool = False) -> tuple[pl.DataFrame, dict[str, int]]:
    """(of each person and task the latest submitted label, how many others were left out by reason)

    Labels that are the answer to a gold task, and those of tasks with the role gold, count with `gold` alone. DataError
    names a missing column.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in labels.columns]
    if missing:
        raise DataError(f"expected label columns {list(REQUIRED_COLUMNS)}, got {labels.columns}; add {missing}")
    left_out: dict[str, int] = {}
    for column, wanted, name in (("state", "submitted", "not_submitted"), ("kind", "human", "not_by_people")):
        before = labels.height
        if column in labels.columns:
            labels = labels.filter(pl.col(column) == wanted)
        left_out[name] = before - labels.height
    before = labels.height
    if not gold and "ground_truth" in labels.columns:
        labels = labels.filter(~pl.col("ground_truth").fill_null(False))
    if not gold and "role" in labels.columns:
        labels = labels.filter(pl.col("role").fill_null("") != "gold")
    left_out["gold"] = before - labels.height
    known = labels.filter(pl.col("annotator").is_not_null())
    left_out["annotator_unknown"] = labels.height - known.height
    latest = known.sort("at", "annotation_id").unique(["task_id", "annotator"], keep="last", maintain_order=True)
    left_out["superseded"] = known.height - latest.height
    return latest.sort("task_id", "annotator"), left_out


def result_of(result: Any) -> list[Region]:
    """The regions of a row, which are JSON or a list already."""
    found = orjson.loads(result) if isinstance(result, str | bytes) else list(result or [])
    return [region for region in found if isinstance(region, dict)]


@dataclass(frozen=True)
class Labels:
    """Labels that count, in order of task and person: what each says, and what they are grouped by.

    `shown` are codes of what a person was shown, -1 for nothing; `week` codes of `weeks`, which are ISO weeks in order.
    """

    task: Ints
    annotator: Ints
    annotation: Ints
    shown: Ints
    week: Ints
    weeks: tuple[str, ...]
    results: list[list[Region]]
    data: Mapping[int, Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.results)


def labels_of(kept: pl.DataFrame) -> Labels:
    """Current labels with their regions read; `kept` as `current_labels` gives them."""
    shown = kept["shown"]
    if shown.dtype == pl.Boolean:
        shown = shown.replace_strict({False: None, True: "shown"}, return_dtype=pl.String, default=None)
    codes = (shown.cast(pl.String).rank("dense").cast(pl.Int64) - 1).fill_null(-1)
    weeks = kept["at"].dt.strftime("%G-W%V")
    names = weeks.unique().sort().to_list()
    week = weeks.rank("dense").cast(pl.Int64) - 1
    data: dict[int, Mapping[str, Any]] = {}
    if "data" in kept.columns:
        first = kept.unique("task_id", keep="first", maintain_order=True).select("task_id", "data")
        data = {task: _object(found) for task, found in first.iter_rows() if found is not None}
    return Labels(
        _ints(kept["task_id"]),
        _ints(kept["annotator"]),
        _ints(kept["annotation_id"]),
        _ints(codes),
        _ints(week),
        tuple(names),
        [result_of(result) for result in kept["result"]],
        data,
    )


def _object(found: Any) -> Mapping[str, Any]:
    value = orjson.loads(found) if isinstance(found, str | bytes) else found
    return value if isinstance(value, Mapping) else {}


def _ints(column: pl.Series) -> Ints:
    return column.cast(pl.Int64).to_numpy().astype(np.int64, copy=False)


@dataclass(frozen=True)
class Said:
    """What labels say under one control; `place` is of each reading the label it is of. `unsure`: labels that said so."""

    control: Control
    kind: Kind
    readings: Readings
    place: Ints
    unsure: tuple[int, ...]

    @cached_property
    def met(self) -> Ints:
        """Places of the readings that are compared: all where a task is one unit, else those of tasks that several labelled.

        What single people say of a task enters nothing but how common each value is.
        """
        every = np.arange(len(self.readings))
        if not self.kind.judged_prefix:
            return every
        _, task, often = np.unique(self.readings.task, return_inverse=True, return_counts=True)
        return every[often[task] > 1]

    @cached_property
    def compared(self) -> Compared:
        """Every two of a task, by places in `met`; made once, as several ask for it."""
        return self.kind.compare(self.readings.at(self.met))


def said_under(labels: Labels, control: Control, kind: Kind) -> Said:
    """What each label says under a control. Whoever is unsure says nothing there, and does not count."""
    places: list[int] = []
    values: list[Any] = []
    unsure: list[int] = []
    nothing: Mapping[str, Any] = {}
    for place, result in enumerate(labels.results):
        value = kind.read(result, control, labels.data.get(int(labels.task[place]), nothing))
        left = sure(value, kind.name)
        if left is None and value is not None:
            unsure.append(place)
            continue
        places.append(place)
        values.append(left)
    at = np.asarray(places, dtype=np.int64)
    return Said(control, kind, Readings(labels.task[at], labels.annotator[at], values), at, tuple(unsure))
