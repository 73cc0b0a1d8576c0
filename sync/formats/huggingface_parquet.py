"""Hugging Face: data/<split>-00000-of-0000N.parquet with features, and a dataset card; `datasets.load_dataset(folder)` reads it.

    detect    image, width, height, objects {bbox [x, y, width, height] in pixels, category, area, region_id}
    segment   the same, and objects {segmentation, mask, rotation}
    ner       text, tokens, ner_tags (O, B-x, I-x in the order of the classes), spans {start, end, label, region_id}
    classify  image, and label (or labels); with several choice controls a column for each, by its name
    textcat   text, and the same

Every row has task_id, and data: what of the task's data has no column, as JSON. Classes are ClassLabels in their order.
An image is its path, or where images are copied its bytes. The splits are train, validation and test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync.formats.examples import SPLITS, Example
from sync.formats.fitting import CONFIG
from sync.formats.format import Format, Joined, Part, PartDone, Plan, fragments
from sync.formats.hf_features import ClassLabel, Feature, Features, Image, ListOf, Value, arrow_schema
from sync.formats.huggingface_card import Split, dataset_card
from sync.formats.huggingface_plan import TASKS, Details, losses_of_huggingface, plan_huggingface
from sync.formats.huggingface_rows import Row, rows_of
from sync.formats.parquet_groups import in_groups, tables_of
from sync.formats.texts import Notes, notes_of

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

CARD = "README.md"
SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
#: Bytes of a file, as its rows lie in memory; and of the rows that a part holds before it writes them.
SHARD_BYTES, _HELD_BYTES = 400 << 20, 16 << 20


def file_of(split: str) -> str:
    """The files of a split, as provenance names them."""
    return f"data/{SPLIT_NAMES[split]}-*.parquet"


def write_huggingface(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """The part's rows, a piece for each split."""
    details: Details = plan.details
    schema = arrow_schema(details.features)
    pieces: dict[str, _Piece] = {}
    notes = Notes()
    with ExitStack() as opened:
        for example in examples:
            for row in rows_of(plan, example, part, file_of(example.split), notes):
                if example.split not in pieces:
                    file = part.fragment(example.split)
                    pieces[example.split] = opened.enter_context(_Piece(file, schema, details.features))
                pieces[example.split].add(row)
                part.item(example.split)
    if details.spans is not None:
        notes.to_part(part)


class _Piece:
    """Rows on their way into a piece of Parquet; a context, which writes the last of them."""

    def __init__(self, file: Any, schema: pa.Schema, features: Features) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(file, schema, compression="lz4")
        self._schema, self._features = schema, features
        self._rows: list[Row] = []
        self._size = 0

    def __enter__(self) -> _Piece:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, row: Row) -> None:
        """One more row."""
        self._rows.append(row)
        image = row.get("image")
        self._size += len(image["bytes"]) if isinstance(image, dict) else 0
        if self._size >= _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(_table(self._rows, self._features).cast(self._schema))
        self._rows, self._size = [], 0


def _table(rows: Sequence[Row], features: Features) -> pa.Table:
    import polars as pl

    columns = [
        pl.Series(name, [row[name] for row in rows], dtype=_polars_type(feature), strict=False)
        for name, feature in features.items()
    ]
    return pl.DataFrame(columns).to_arrow()


def _polars_type(feature: Feature) -> Any:
    import polars as pl

    match feature:
        case Value(dtype):
            return {"string": pl.String, "int64": pl.Int64, "float64": pl.Float64}[dtype]
        case ClassLabel():
            return pl.Int64
        case Image():
            return pl.Struct({"bytes": pl.Binary, "path": pl.String})
        case ListOf(inner):
            return pl.List(_polars_type(inner))
        case _:
            return pl.Struct({name: _polars_type(inner) for name, inner in feature.items()})


def join_huggingface(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """The files of each split that has rows, and the card."""
    details: Details = plan.details
    schema = arrow_schema(details.features)
    (folder / "data").mkdir()
    files: list[str] = []
    splits = []
    for split in SPLITS:
        pieces = list(fragments(scratch, split, parts))
        if not any(part.items.get(split) for part in parts):
            continue
        tables = (table for piece in pieces for table in tables_of(piece))
        shards = _Shards(folder / "data", SPLIT_NAMES[split], schema)
        for group in in_groups(tables, schema):
            shards.add(group)
        files += [f"data/{name}" for name in shards.finish()]
        splits.append(Split(SPLIT_NAMES[split], shards.rows, shards.size))
    stored = sum((folder / name).stat().st_size for name in files)
    (folder / CARD).write_text(dataset_card(details, splits, stored), encoding="utf-8")
    (folder / CONFIG).write_text(plan.config.xml, encoding="utf-8")
    extra: Mapping[str, Any] = notes_of(parts) if details.spans is not None else {}
    return Joined((*files, CARD, CONFIG), {"columns": list(details.features), **extra})


class _Shards:
    """The files of one split; how many they are is in their names, which they get in the end."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self._folder, self._split, self._schema = folder, split, schema
        self._writer: pq.ParquetWriter | None = None
        self._written = self._files = 0
        self.rows = self.size = 0

    def add(self, group: pa.Table) -> None:
        """One row group."""
        import pyarrow.parquet as pq

        if self._writer is None or self._written >= SHARD_BYTES:
            self._close()
            self._writer = pq.ParquetWriter(self._place(self._files), self._schema, compression="zstd")
            self._written, self._files = 0, self._files + 1
        self._writer.write_table(group, row_group_size=len(group))
        self._written += group.nbytes
        self.rows, self.size = self.rows + len(group), self.size + group.nbytes

    def _place(self, number: int) -> Path:
        return self._folder / f"{self._split}-{number:05d}.part"

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def finish(self) -> list[str]:
        """Close the last file and give all their names."""
        self._close()
        names = [f"{self._split}-{number:05d}-of-{self._files:05d}.parquet" for number in range(self._files)]
        for number, name in enumerate(names):
            self._place(number).rename(self._folder / name)
        return names


def count_huggingface(plan: Plan, folder: Path) -> tuple[int, int]:
    """(rows, objects, spans or chosen classes) as they lie on the disk."""
    import polars as pl

    details: Details = plan.details
    files = sorted((folder / "data").glob("*.parquet"))
    counted = list(_counted(details))
    rows = objects = 0
    for file in files:
        found = pl.scan_parquet(file).select(pl.len().alias("rows"), *counted).collect().row(0)
        rows += found[0]
        objects += sum(int(count or 0) for count in found[1:])
    return rows, objects


def _counted(details: Details) -> Iterator[pl.Expr]:
    import polars as pl

    if details.task in ("detect", "segment"):
        yield pl.col("objects").struct.field("category").list.len().sum()
    elif details.spans is not None:
        yield pl.col("spans").struct.field("label").list.len().sum()
    for column in details.columns.values():
        yield pl.col(column.name).list.len().sum() if column.several else pl.col(column.name).count()


FORMAT = Format(
    "huggingface",
    tuple(TASKS),
    plan_huggingface,
    write_huggingface,
    join_huggingface,
    count_huggingface,
    losses_of_huggingface,
    lambda split, name: "",
    ("polars",),
)
