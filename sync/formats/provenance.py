"""Where every exported object came from: one row each in provenance.parquet beside the files."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelloop.datasets import Schema, arrow_schema
from labelloop.values import Region

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

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

    def save(self, path: Path) -> None:
        """Keep the rows in a file of their own, for `join_provenance`."""
        *columns, of = zip(*self._rows, strict=True)
        path.write_bytes(pickle.dumps((columns, of, list(zip(*self._examples, strict=True))), protocol=5))

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


def join_provenance(target: Path, pieces: Iterable[Path], policy: str, dataset_id: str) -> int:
    """Write provenance.parquet from the parts' pieces and return its rows.

    Objects without a number are numbered in their order, on from part to part.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(SCHEMA)
    type_of = {name: schema.field(name).type for name in schema.names}
    reached: Counter[str] = Counter()
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for path in pieces:
            columns, of, examples = pickle.loads(path.read_bytes())  # noqa: S301 - written by `save`, a moment ago
            own = dict(zip(_OF_OBJECT, columns, strict=True))
            own["object"] = list(_numbered(own["file"], own["object"], reached))
            arrays = {name: arrow_column(column, type_of[name]) for name, column in own.items()}
            places = pa.array(of, pa.int32())
            for name, column in zip(_OF_EXAMPLE, examples, strict=True):
                arrays[name] = arrow_column(column, type_of[name]).take(places)
            arrays["policy"] = pa.repeat(pa.scalar(policy), len(of))
            arrays["dataset_id"] = pa.repeat(pa.scalar(dataset_id), len(of))
            writer.write_table(pa.table([arrays[name] for name in schema.names], schema=schema))
            rows += len(of)
    return rows


def _numbered(files: Sequence[str], numbers: Sequence[int | None], reached: Counter[str]) -> Iterator[int]:
    """The number of each object: its own, else one more than the last of its file, counted on in `reached`."""
    for file, number in zip(files, numbers, strict=True):
        if number is None:
            reached[file] += 1
            number = reached[file]
        yield number


def arrow_column(column: Sequence[Any], type_: Any) -> pa.Array:
    """An Arrow array; what is not of its type becomes text in a column of texts, and null in any other."""
    import pyarrow as pa

    try:
        return pa.array(column, type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pass
    found = []
    for value in column:
        if value is not None and pa.types.is_string(type_):
            value = str(value).encode("utf-8", "replace").decode()
        try:
            found.append(pa.scalar(value, type_))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            found.append(None)
    return pa.array(found, type_)


_NO_REGION: Region = {}


def _polars_types() -> dict[str, Any]:
    import polars as pl

    types = {
        "int64": pl.Int64, "string": pl.String, "float64": pl.Float64, "bool": pl.Boolean,
        "time": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    return {name: types[type_] for name, type_ in SCHEMA}
