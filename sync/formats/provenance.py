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
_TYPES = dict(SCHEMA)
#: Columns about the label as a whole, and what the example calls them.
_OF_EXAMPLE = {
    "task_id": "task_id", "annotation_id": "annotation_id", "version": "shown_serving_id", "annotator": "annotator",
    "at": "at", "rev_hash": "rev_hash", "review_status": "review_status", "n_labels": "n_labels",
    "n_agreeing": "n_agreeing", "ground_truth": "ground_truth", "split": "split",
}  # fmt: skip


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
    """The rows of one part: what was noted, made into columns at once."""

    def __init__(self) -> None:
        self._regions: list[Region] = []
        self._labels: list[str] = []
        self._class_ids: list[int | None] = []
        self._files: list[str] = []
        self._numbers: list[int | None] = []
        self._of: list[int] = []
        """Of each object the row of its example."""
        self._examples: list[Example] = []
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
        count = len(objects)
        regions, labels, class_ids = zip(*objects, strict=True)
        self._regions += regions
        self._labels += labels
        self._class_ids += class_ids
        self._files += [file] * count
        self._numbers += [None] * count if first is None else range(first, first + count)
        self._of += [self._index(example)] * count

    def _index(self, example: Example) -> int:
        """The row of an example; what is added comes example by example."""
        if not self._examples or example is not self._examples[-1]:
            self._examples.append(example)
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
        """(the objects, their examples)"""
        import pyarrow as pa

        if self._made is None or len(self._made[0]) != len(self):
            reached = Counter[str]()
            tables = []
            for columns in (self._object_columns(reached), self._example_columns()):
                schema = arrow_schema([(name, type_) for name, type_ in SCHEMA if name in columns])
                arrays = [arrow_column(columns[name], _TYPES[name]) for name in schema.names]
                tables.append(pa.table(arrays, schema=schema.with_metadata({_NUMBERED: orjson.dumps(reached)})))
            self._made = tables[0], tables[1]
        return self._made

    def _object_columns(self, reached: Counter[str]) -> dict[str, Sequence[Any]]:
        regions, examples = self._regions, self._examples
        origins = [region.get("origin") for region in regions]
        if "prediction" in origins or any(example.source == "consensus" for example in examples):
            standing: list[tuple[str, float | None]] = [
                standing_of(examples[at], region) for at, region in zip(self._of, regions, strict=True)
            ]
        else:
            plain = [(example.source, None) for example in examples]
            standing = [plain[at] for at in self._of]
        return {
            "file": self._files,
            "object": _numbered(self._files, self._numbers, reached) if None in self._numbers else self._numbers,
            "region_id": [region.get("id") for region in regions],
            "control": [region.get("from_name") for region in regions],
            "label": self._labels,
            "class_id": self._class_ids,
            "confidence": [confidence for _, confidence in standing],
            "source": [source for source, _ in standing],
            "origin": origins,
        }

    def _example_columns(self) -> dict[str, Sequence[Any]]:
        return {name: [getattr(each, of) for each in self._examples] for name, of in _OF_EXAMPLE.items()}


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
                columns = {name: table[name] for table in (objects, of_examples) for name in table.schema.names}
                columns["object"] = numbers
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
