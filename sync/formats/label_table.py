"""The labels of a part as a table, one row each, with where they came from: what CSV and Parquet write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.datasets import Schema
from labelloop.values import Region
from sync.formats.examples import Example
from sync.formats.format import Part, PartDone, Plan
from sync.formats.provenance import standing_of
from sync.formats.rows import BESIDE, GEOMETRY, Cells, ControlFacts, regions_in_cells

if TYPE_CHECKING:
    import polars as pl

OF_LABEL: Schema = (
    ("region_id", "string"), ("control", "string"), ("kind", "string"), ("label", "string"), ("class_id", "int64"),
    *GEOMETRY, *BESIDE, ("confidence", "float64"), ("source", "string"), ("origin", "string"),
)  # fmt: skip
OF_TASK: Schema = (
    ("task_id", "int64"), ("annotation_id", "int64"), ("split", "string"), ("version", "string"),
    ("annotator", "int64"), ("at", "time"), ("review_status", "string"), ("n_labels", "int64"),
    ("n_agreeing", "int64"), ("ground_truth", "bool"), ("rev_hash", "string"),
)  # fmt: skip
COLUMNS: Schema = (*OF_TASK[:3], *OF_LABEL, *OF_TASK[3:])


class LabelTable:
    """The rows of one part. A task in which nothing was marked is one row without a label, where `negatives` are kept."""

    def __init__(self, controls: Mapping[str, ControlFacts], *, negatives: bool) -> None:
        self._controls, self._negatives = controls, negatives
        self._tasks: list[tuple[Any, ...]] = []
        self._rows: list[tuple[Any, ...]] = []

    def add(self, example: Example, part: Part, file: str) -> int:
        """The labels of one task, and how many they are; each is counted as an object of the file."""
        at = len(self._tasks)
        self._tasks.append(told_of(example))
        before = len(self._rows)
        for region, facts, cells in regions_in_cells(example, self._controls, part):
            self._add(example, region, facts, cells, at, part, file)
        found = len(self._rows) - before
        if self._negatives and not found:
            self._rows.append((*_NO_LABEL, at))
        return found

    def _add(
        self, example: Example, region: Region, facts: ControlFacts | None, cells: Cells, at: int, part: Part, file: str
    ) -> None:
        source, confidence = standing_of(example, region)
        region_id, control, kind, labels, shape, beside, origin = cells
        tail = (*shape, *beside, confidence, source, origin, at)
        for label in labels or _UNLABELLED:
            class_id = facts.class_ids.get(label) if facts is not None and label is not None else None
            part.object(example, region, label or "", class_id, file)
            self._rows.append((region_id, control, kind, label, class_id, *tail))

    def frame(self) -> tuple[pl.DataFrame, pl.Series]:
        """The rows with COLUMNS (JSON as text), and of each the number of its task in this part."""
        import polars as pl

        *columns, of = zip(*self._rows, strict=True) if self._rows else [()] * (len(OF_LABEL) + 1)
        labels = columns_of(OF_LABEL, columns)
        number = pl.Series(of, dtype=pl.UInt32)
        tasks = columns_of(OF_TASK, list(zip(*self._tasks, strict=True)) or [()] * len(OF_TASK))
        whole = pl.concat([tasks[number], labels], how="horizontal")
        return whole.select(name for name, _ in COLUMNS), number


def copied_images(plan: Plan, example: Example, part: Part) -> list[str | None]:
    """The files of a task's images where images are copied, below the export's folder; None for one that is not at hand."""
    if not plan.options.images:
        return []
    files: list[str | None] = []
    for picture in example.pictures:
        place = f"images/{example.split}/{picture.name}"
        part.copy_image(picture, place, example.task_id)
        files.append(place if picture.file is not None else None)
    return files


def offset_notes(parts: Iterable[PartDone]) -> dict[str, Any]:
    """How many spans were not counted in code points, as the manifest says it; see `locate_spans`."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.notes.get("offsets", {}))
    return {"offset_notes": dict(sorted(total.items()))}


_UNLABELLED: tuple[None] = (None,)
_NO_LABEL: tuple[None, ...] = (None,) * len(OF_LABEL)


def told_of(
    example: Example,
) -> tuple[int, int, str, str | None, int | None, datetime, str, int | None, int | None, bool, str]:
    """What is told of a label as a whole, in the order of OF_TASK."""
    return (
        example.task_id, example.annotation_id, example.split, example.shown_serving_id, example.annotator, example.at,
        example.review_status, example.n_labels, example.n_agreeing, example.ground_truth, example.rev_hash,
    )  # fmt: skip


def columns_of(schema: Schema, columns: Sequence[Iterable[Any]]) -> pl.DataFrame:
    """Columns of a schema; JSON becomes text, and what is not of its column's type null."""
    import polars as pl

    types: dict[str, Any] = {
        "int64": pl.Int64, "string": pl.String, "float64": pl.Float64, "bool": pl.Boolean,
        "time": pl.Datetime("us", "UTC"), "json": pl.String,
    }  # fmt: skip
    return pl.DataFrame(
        [
            pl.Series(name, _json(column) if type_ == "json" else column, dtype=types[type_], strict=False)
            for (name, type_), column in zip(schema, columns, strict=True)
        ]
    )


def _json(column: Iterable[Any]) -> list[str | None]:
    return [None if each is None else orjson.dumps(each).decode() for each in column]
