"""Where every exported object came from: one row each in provenance.parquet beside the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.datasets import Schema, arrow_schema
from labelloop.values import Region
from sync.formats.arrow_columns import arrow_column

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
    """The rows of one part, in columns."""

    def __init__(self) -> None:
        self._objects: dict[str, list[Any]] = {name: [] for name in _OF_OBJECT}
        self._of: list[int] = []
        """Of each object the row of its example."""
        self._examples: list[tuple[Any, ...]] = []
        self._last: Example | None = None
        self._made: tuple[pa.Table, pa.Table] | None = None

    def __len__(self) -> int:
        return len(self._of)

    def add(
        self, example: Example, region: Region | None, label: str, class_id: int | None, file: str, number: int | None
    ) -> None:
        """Note one object; see `Part.object`."""
        self.add_several(example, ((region or _NO_REGION, label, class_id),), file, number)

    def add_several(
        self, example: Example, objects: Sequence[tuple[Region, str, int | None]], file: str, first: int | None
    ) -> None:
        """Note objects of one file; see `Part.several`."""
        count, columns = len(objects), self._objects
        regions, labels, class_ids = zip(*objects, strict=True)
        origins = [region.get("origin") for region in regions]
        columns["file"] += [file] * count
        columns["object"] += [None] * count if first is None else range(first, first + count)
        columns["region_id"] += [region.get("id") for region in regions]
        columns["control"] += [region.get("from_name") for region in regions]
        columns["label"] += labels
        columns["class_id"] += class_ids
        columns["origin"] += origins
        if example.source == "consensus" or "prediction" in origins:
            sources, confidences = zip(*(standing_of(example, region) for region in regions), strict=True)
            columns["source"] += sources
            columns["confidence"] += confidences
        else:
            columns["source"] += [example.source] * count
            columns["confidence"] += [None] * count
        self._of += [self._index(example)] * count

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
        import polars as pl

        if not self._of:
            return None
        objects, examples = self._tables()
        return pl.DataFrame(objects).hstack(pl.DataFrame(examples)[pl.Series(self._of)])

    def save(self, path: Path) -> None:
        """Keep the rows in a file of their own, for `join_provenance`: two Arrow tables, the second of the examples."""
        import pyarrow as pa

        objects, examples = self._tables()
        rows = objects.append_column(_ROW, arrow_column(self._of, "int64"))
        with pa.OSFile(str(path), "wb") as file:
            for table in (rows, examples):
                with pa.ipc.new_stream(file, table.schema) as writer:
                    writer.write_table(table)

    def _tables(self) -> tuple[pa.Table, pa.Table]:
        import pyarrow as pa

        if self._made is not None and len(self._made[0]) == len(self):
            return self._made
        objects: dict[str, Sequence[Any]] = dict(self._objects)
        types, reached = dict(SCHEMA), Counter[str]()
        if None in objects["object"]:
            objects["object"] = _numbered(objects["file"], objects["object"], reached)
        told = dict(zip(_OF_EXAMPLE, zip(*self._examples, strict=True), strict=True))
        made = []
        for columns, more in ((objects, {_NUMBERED: orjson.dumps(reached)}), (told, None)):
            schema = arrow_schema([(name, type_) for name, type_ in SCHEMA if name in columns]).with_metadata(more)
            made.append(pa.table([arrow_column(columns[name], types[name]) for name in schema.names], schema=schema))
        self._made = made[0], made[1]
        return self._made


#: In the metadata of a part's objects: of each file whose objects are numbered on from part to part, how many it has.
_NUMBERED = b"numbered"
#: Of each object the row of its example.
_ROW = "row"
#: Columns whose values are mostly different: a dictionary of them takes time, and a third more space.
_SELDOM_TWICE = {"file", "object", "task_id", "annotation_id", "region_id", "at", "rev_hash"}


def join_provenance(target: Path, pieces: Iterable[Path], policy: str, dataset_id: str) -> int:
    """Write provenance.parquet from the parts' pieces and return its rows.

    Objects without a number of their own are numbered in their order, on from part to part.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = arrow_schema(SCHEMA)
    reached: Counter[str] = Counter()
    rows = 0
    often = [name for name in schema.names if name not in _SELDOM_TWICE]
    with pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=often) as writer:
        for path in pieces:
            with pa.memory_map(str(path)) as file:
                objects, examples = (pa.ipc.open_stream(file).read_all() for _ in range(2))
                numbers = objects["object"]
                here = orjson.loads(objects.schema.metadata[_NUMBERED])
                for name, before in [(name, reached[name]) for name in here if reached[name]]:
                    # Arrow's own scalars: a plain one would have it import pandas.
                    file_name, offset = arrow_column([name], "string")[0], arrow_column([before], "int64")[0]
                    numbers = pc.if_else(pc.equal(objects["file"], file_name), pc.add(numbers, offset), numbers)
                reached.update(here)
                of_examples = examples.take(objects[_ROW])
                columns = {name: objects[name] for name in _OF_OBJECT}
                columns |= {name: of_examples[name] for name in _OF_EXAMPLE} | {"object": numbers}
                for name, said in (("policy", policy), ("dataset_id", dataset_id)):
                    columns[name] = arrow_column([said] * len(objects), "string")
                writer.write_table(pa.table([columns[name] for name in schema.names], schema=schema))
                rows += len(objects)
    return rows


def _numbered(files: Sequence[str], numbers: Sequence[int | None], reached: Counter[str]) -> Sequence[int]:
    """The number of each object: its own, else one more than the last of its file, counted on in `reached`."""
    count = len(numbers)
    if numbers.count(None) == count == files.count(files[0]):
        first = reached[files[0]] + 1
        reached[files[0]] += count
        return range(first, first + count)
    found: list[int] = []
    for file, number in zip(files, numbers, strict=True):
        if number is None:
            reached[file] += 1
            number = reached[file]
        found.append(number)
    return found


_NO_REGION: Region = {}
