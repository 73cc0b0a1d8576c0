"""Where every exported object came from: one row each in provenance.parquet beside the files."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelloop.datasets import Schema, arrow_schema
from labelloop.values import Region

if TYPE_CHECKING:
    import polars as pl

    from sync.formats.examples import Example

FILE = "provenance.parquet"

#: `object` is the id or place (from 1) within `file`; `confidence` a suggestion's own, or the share that agreed;
#: `version` the model or rule version that the annotator was shown, null for a blind label.
SCHEMA: Schema = (
    ("file", "string"), ("object", "int64"), ("task_id", "int64"), ("annotation_id", "int64"), ("region_id", "string"),
    ("control", "string"), ("label", "string"), ("class_id", "int64"), ("confidence", "float64"), ("source", "string"),
    ("origin", "string"), ("version", "string"), ("annotator", "int64"), ("at", "time"), ("rev_hash", "string"),
    ("review_status", "string"), ("n_labels", "int64"), ("n_agreeing", "int64"), ("ground_truth", "bool"),
    ("split", "string"), ("policy", "string"), ("dataset_id", "string"),
)  # fmt: skip
_OF_EXAMPLE = (
    "task_id", "annotation_id", "version", "annotator", "at", "rev_hash", "review_status", "n_labels", "n_agreeing",
    "ground_truth", "split",
)  # fmt: skip
_OF_OBJECT = (
    "file", "object", "region_id", "control", "label", "class_id", "confidence", "source", "origin",
)  # fmt: skip


def source_of(example: Example, origin: str | None) -> str:
    """Who made a region: "person", "model", "rule", "consensus", or "import".

    A suggestion that a person accepted as it was is the model's (or the rules'); one that was changed is the person's.
    """
    if origin == "prediction" and example.source == "person":
        version = example.shown_serving_id or ""
        return "rule" if version.startswith("rules-") else "model"
    return example.source


def standing_of(example: Example, region: Region) -> tuple[str, float | None]:
    """(who made a region, confidence): of a suggestion its own score, of a consensus the share that agreed."""
    if region.get("origin") == "prediction":
        score = region.get("score")
        return source_of(example, "prediction"), float(score) if isinstance(score, int | float) else None
    if example.source == "consensus" and example.n_labels and example.n_agreeing is not None:
        return "consensus", example.n_agreeing / example.n_labels
    return example.source, None


class Provenance:
    """The rows of one part."""

    def __init__(self) -> None:
        self.numbered: set[str] = set()
        """Files whose objects were given no number: they are numbered in their order, on from part to part."""
        self._examples: list[tuple[Any, ...]] = []
        self._last: Example | None = None
        self._rows: list[tuple[Any, ...]] = []
        self._frame: pl.DataFrame | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, example: Example, region: Region | None, label: str, class_id: int | None, file: str, number: int | None
    ) -> None:
        """Note one object; see `Part.object`."""
        if number is None:
            self.numbered.add(file)
        region = region or _NO_REGION
        source, confidence = standing_of(example, region)
        self._rows.append((
            file, number, region.get("id"), region.get("from_name"), label, class_id, confidence, source,
            region.get("origin"), self._index(example),
        ))  # fmt: skip

    def add_several(
        self, example: Example, objects: Iterable[tuple[Region, str, int | None]], file: str, first: int | None
    ) -> None:
        """Note objects of one file; see `Part.several`."""
        if first is None:
            self.numbered.add(file)
        add, index = self._rows.append, self._index(example)
        plain, unsure = (example.source, None), example.source == "consensus"
        numbers = repeat(None) if first is None else count(first)
        for (region, label, class_id), number in zip(objects, numbers, strict=False):
            origin = region.get("origin")
            source, confidence = standing_of(example, region) if unsure or origin == "prediction" else plain
            add((
                file, number, region.get("id"), region.get("from_name"), label, class_id, confidence, source, origin,
                index,
            ))  # fmt: skip

    def _index(self, example: Example) -> int:
        """The row of an example; what is added comes example by example."""
        if example is not self._last:
            self._last = example
            self._examples.append((
                example.task_id, example.annotation_id, example.shown_serving_id, example.annotator, example.at,
                example.rev_hash, example.review_status, example.n_labels, example.n_agreeing, example.ground_truth,
                example.split,
            ))  # fmt: skip
        return len(self._examples) - 1

    def frame(self) -> pl.DataFrame | None:
        """The rows without what the export as a whole adds, in the order in which they came; None without any."""
        if self._rows and (self._frame is None or len(self._frame) != len(self._rows)):
            self._frame = self._made_frame()
        return self._frame

    def _made_frame(self) -> pl.DataFrame:
        import polars as pl

        types = _polars_types()
        *columns, of = zip(*self._rows, strict=True)
        own = [
            pl.Series(name, column, dtype=types[name], strict=False)
            for name, column in zip(_OF_OBJECT, columns, strict=True)
        ]
        examples = pl.DataFrame(
            [
                pl.Series(name, column, dtype=types[name], strict=False)
                for name, column in zip(_OF_EXAMPLE, zip(*self._examples, strict=True), strict=True)
            ]
        )
        number = pl.coalesce("object", pl.int_range(1, pl.len() + 1).over("file"))
        whole = pl.concat([pl.DataFrame(own), examples[pl.Series(of, dtype=pl.UInt32)]], how="horizontal")
        return whole.with_columns(number.alias("object")).select(name for name, _ in SCHEMA[:-2])


def join_provenance(
    target: Path, pieces: Iterable[Path], numbered: Collection[str], policy: str, dataset_id: str
) -> int:
    """Write provenance.parquet from the parts' pieces and return its rows.

    `numbered` are the files whose objects are numbered on from part to part.
    """
    import polars as pl
    import pyarrow.parquet as pq

    schema = arrow_schema(SCHEMA)
    reached: dict[str, int] = {}
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for path in pieces:
            piece = pl.read_parquet(path)
            before = pl.col("file").replace_strict(reached, default=0, return_dtype=pl.Int64)
            whole = piece.with_columns(
                (pl.col("object") + before).alias("object"),
                pl.lit(policy).alias("policy"),
                pl.lit(dataset_id).alias("dataset_id"),
            )
            for file, count in piece["file"].value_counts().iter_rows():
                if file in numbered:
                    reached[file] = reached.get(file, 0) + count
            writer.write_table(whole.to_arrow().cast(schema))
            rows += len(piece)
    return rows


_NO_REGION: Region = {}


def _polars_types() -> dict[str, Any]:
    import polars as pl

    types = {
        "int64": pl.Int64, "string": pl.String, "float64": pl.Float64, "bool": pl.Boolean,
        "time": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    return {name: types[type_] for name, type_ in SCHEMA}
