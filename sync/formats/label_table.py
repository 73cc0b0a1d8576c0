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
from sync.formats.rows import BESIDE, GEOMETRY, ControlFacts, regions_in_cells

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
    """The rows of one part, or of those of its tasks that are added to this table.

    What is told of an object is in the part's provenance already; a row here is a row there, and its cells. A task in
    which nothing was marked is a row without a label, where `negatives` are kept.
    """

    def __init__(self, controls: Mapping[str, ControlFacts], part: Part, file: str, *, negatives: bool) -> None:
        self._controls, self._part, self._file, self._negatives = controls, part, file, negatives
        self._first = len(part.provenance)
        self._cells: list[tuple[Any, ...]] = []
        self._without: list[tuple[Any, ...]] = []
        self._tasks = 0

    def add(self, example: Example) -> int:
        """The labels of one task, and how many they are; each is counted as an object of the file."""
        at, cells = self._tasks, self._cells
        self._tasks += 1
        objects: list[tuple[Region, str, int | None]] = []
        for region, facts, (_, _, kind, labels, shape, beside, _) in regions_in_cells(
            example, self._controls, self._part
        ):
            row = (kind, *shape, *beside, at)
            ids = facts.class_ids if facts is not None else _NO_IDS
            for label in labels or _UNLABELLED:
                objects.append((region, label, ids.get(label)))
                cells.append(row)
        self._part.several(example, objects, self._file)
        if self._negatives and not objects:
            self._without.append((*told_of(example), at))
        return len(objects)

    def frame(self) -> tuple[pl.DataFrame, pl.Series]:
        """The rows with COLUMNS (JSON as text), and of each the number of its task among those that were added."""
        import polars as pl

        schema = (("kind", "string"), *GEOMETRY, *BESIDE, _NUMBER)
        cells = columns_of(schema, list(zip(*self._cells, strict=True)) or [()] * len(schema))
        told = self._part.provenance.frame()
        whole = [columns_of((*COLUMNS, _NUMBER), [()] * (len(COLUMNS) + 1))]
        if told is not None:
            whole.append(told[self._first : self._first + len(cells)].hstack(cells))
        if self._without:
            whole.append(columns_of((*OF_TASK, _NUMBER), list(zip(*self._without, strict=True))))
        rows = pl.concat(whole, how="diagonal")
        rows = rows.sort("number", maintain_order=True) if self._without else rows
        label = pl.when(pl.col("label") != "").then("label").alias("label")
        return rows.with_columns(label).select(name for name, _ in COLUMNS), rows["number"]


#: The number of a row's task.
_NUMBER = ("number", "int64")
#: What has no class, and a control that is not in the config.
_UNLABELLED = ("",)
_NO_IDS: Mapping[str, int] = {}


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


def told_of(
    example: Example,
) -> tuple[int, int, str, str | None, int | None, datetime, str, int | None, int | None, bool, str]:
    """What is told of a label as a whole, in the order of OF_TASK."""
    return (
        example.task_id, example.annotation_id, example.split, example.shown_serving_id, example.annotator, example.at,
        example.review_status, example.n_labels, example.n_agreeing, example.ground_truth, example.rev_hash,
    )  # fmt: skip


def columns_of(schema: Schema, columns: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Columns of a schema; JSON becomes text, and what is not of its column's type null."""
    import polars as pl

    types: dict[str, Any] = {
        "int64": pl.Int64, "string": pl.String, "float64": pl.Float64, "bool": pl.Boolean,
        "time": pl.Datetime("us", "UTC"), "json": pl.String,
    }  # fmt: skip
    return pl.DataFrame(
        [_series(name, column, type_, types[type_]) for (name, type_), column in zip(schema, columns, strict=True)]
    )


def _series(name: str, column: Sequence[Any], type_: str, dtype: Any) -> pl.Series:
    import polars as pl

    if column and column.count(None) == len(column):
        return pl.Series(name, [None], dtype=dtype).new_from_index(0, len(column))
    return pl.Series(name, _json(column) if type_ == "json" else column, dtype=dtype, strict=False)


def _json(column: Iterable[Any]) -> list[str | None]:
    return [None if each is None else orjson.dumps(each).decode() for each in column]
