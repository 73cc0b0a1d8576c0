"""A dataset version on disk: immutable Parquet tables and a manifest, named by the hash of what they hold.

    <folder>/manifest.json    body: schema version, project, entries, label config, classes, filters, policy, split;
                              beside it, not in the hash: parent, time, counts, what was forgotten
             tasks.parquet    task_id, data (JSON), meta (JSON), group_key, role, split {"train", "holdout"}
             labels.parquet   one row per label: LABELS_SCHEMA; `is_truth` marks one per task, `result` is JSON
             regions.parquet  one row per region of a truth label: REGIONS_SCHEMA

Row group k of labels.parquet holds the labels of the tasks in row group k of tasks.parquet, each in order of the task id: a
version is read part by part in bounded memory. A training sees a *materialised* copy: the same tables, and
media/<task_id>-<n><suffix> for tasks that have media.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.values import Region

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
#: The tables of a version.
TABLES = ("tasks", "labels", "regions")

#: Columns as (name, type): a type is a name of `pyarrow.type_for_alias`, or "time" for UTC with microseconds.
Schema = Sequence[tuple[str, str]]
TASKS_SCHEMA: Schema = (
    ("task_id", "int64"), ("data", "string"), ("meta", "string"), ("group_key", "string"), ("role", "string"),
    ("split", "string"),
)  # fmt: skip
#: `shown_version` is the model version behind the suggestion that the annotator saw, `fired_rules` the rules behind it
#: (a JSON list); `left_out` says why a label could not be the truth, null where it could.
LABELS_SCHEMA: Schema = (
    ("task_id", "int64"), ("annotation_id", "int64"), ("annotator", "int64"), ("at", "time"), ("rev_hash", "string"),
    ("lead_time_s", "float64"), ("shown_serving_id", "string"), ("ground_truth", "bool"), ("source", "string"),
    ("review_status", "string"), ("n_labels", "int64"), ("n_agreeing", "int64"), ("is_truth", "bool"),
    ("result", "string"), ("shown_version", "string"), ("fired_rules", "string"), ("left_out", "string"),
)  # fmt: skip
REGIONS_SCHEMA: Schema = (
    ("task_id", "int64"), ("annotation_id", "int64"), ("control", "string"), ("kind", "string"),
    ("region_id", "string"), ("label", "string"), ("x", "float64"), ("y", "float64"), ("w", "float64"),
    ("h", "float64"), ("rot", "float64"), ("width", "int64"), ("height", "int64"), ("start", "int64"),
    ("end", "int64"), ("text", "string"),
)  # fmt: skip
#: Tasks in one row group.
PART_TASKS = 1000

_parsed = lru_cache(maxsize=8)(parse_label_config)


@dataclass(frozen=True)
class Dataset:
    """A dataset version opened for reading; tables and the names of media are read when first asked for."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def dataset_id(self) -> str:
        return str(self.manifest["dataset_id"])

    @property
    def label_config(self) -> LabelConfig:
        return _parsed(self.manifest["body"]["label_config"])

    @property
    def forgotten(self) -> frozenset[int]:
        """The tasks whose content was erased after the version was made."""
        return frozenset(int(each["task_id"]) for each in self.manifest.get("forgotten") or ())

    @cached_property
    def tasks(self) -> pl.DataFrame:
        """The tasks, whole."""
        return self._table("tasks", TASKS_SCHEMA)

    @cached_property
    def labels(self) -> pl.DataFrame:
        """The labels, whole; columns that an older version has not got are null."""
        return self._table("labels", LABELS_SCHEMA)

    @cached_property
    def regions(self) -> pl.DataFrame:
        """The regions of the truth labels, whole."""
        return self._table("regions", REGIONS_SCHEMA)

    def _table(self, name: str, schema: Schema) -> pl.DataFrame:
        import polars as pl

        frame = pl.read_parquet(self.path / f"{name}.parquet")
        lacking = {column: type_ for column, type_ in schema if column not in frame.columns}
        types = {"int64": pl.Int64, "string": pl.String, "bool": pl.Boolean, "float64": pl.Float64}
        return frame.with_columns(pl.lit(None, dtype=types[type_]).alias(column) for column, type_ in lacking.items())

    def entries(self) -> set[tuple[int, int, str]]:
        """(task id, annotation id, rev_hash) of every label that it holds."""
        return set(self.labels.select("task_id", "annotation_id", "rev_hash").iter_rows())

    def media(self, task_id: int, data: Mapping[str, Any]) -> dict[str, Path]:
        """The local media files of a task in a materialised copy, by address; empty where it has none."""
        names = enumerate(self.label_config.media_addresses(data))
        found = {address: self._media_files.get(f"{task_id}-{number}") for number, address in names}
        return {address: file for address, file in found.items() if file is not None}

    @cached_property
    def _media_files(self) -> dict[str, Path]:
        """The media of a materialised copy by <task id>-<n>: listed once, as a look for each task lists all of them."""
        folder = self.path / "media"
        return {file.name.partition(".")[0]: file for file in folder.iterdir()} if folder.is_dir() else {}

    @property
    def holdout_hash(self) -> str:
        """16 hex digits that name the holdout's truth: of the SHA-256 of its sorted (task id, rev_hash)."""
        pairs = sorted(self._truths("holdout").select("task_id", "rev_hash").iter_rows())
        return hashlib.sha256(orjson.dumps(pairs)).hexdigest()[:16]

    def count_truths(self, split: str) -> int:
        """How many tasks of a split have a truth."""
        import polars as pl

        own = self.tasks.filter(pl.col("split") == split).select("task_id")
        return self.labels.filter(pl.col("is_truth")).join(own, on="task_id", how="semi").height

    def truth(self, split: str) -> list[tuple[int, dict[str, Any], list[Region]]]:
        """(task id, task data, regions of the truth label) of each task of a split, ordered by task id."""
        rows = self._truths(split).to_dicts()
        return [(row["task_id"], orjson.loads(row["data"]), orjson.loads(row["result"])) for row in rows]

    def _truths(self, split: str) -> pl.DataFrame:
        import polars as pl

        return (
            self.labels.filter(pl.col("is_truth"))
            .join(self.tasks.filter(pl.col("split") == split), on="task_id", how="inner")
            .sort("task_id")
        )


def dataset_id_of(body: Mapping[str, Any]) -> str:
    """ "d" and 16 hex digits of the SHA-256 of the canonical manifest body: same content, same id on any machine."""
    return "d" + hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


class Entries:
    """What a version holds, gathered in any order, as what the manifest keeps of it; 48 bytes for a task or a label."""

    def __init__(self) -> None:
        self._rows = bytearray()

    def add(self, task_id: int, annotation_id: int, rev_hash: str, facts: Sequence[Any] = ()) -> None:
        """One label: the hash of its content, and what else the version says of it (plain values and times)."""
        content = rev_hash.encode() + orjson.dumps(facts)
        self._rows += _ROW.pack(task_id, annotation_id, hashlib.sha256(content).digest())

    def add_task(self, task_id: int, content: Sequence[Any]) -> None:
        """One task with everything that the version says of it."""
        self._rows += _ROW.pack(task_id, _IS_TASK, hashlib.sha256(json_bytes(content)).digest())

    def extend(self, rows: bytes) -> None:
        """What another process gathered (`bytes(entries)`)."""
        self._rows += rows

    def __bytes__(self) -> bytes:
        return bytes(self._rows)

    def to_json(self) -> dict[str, Any]:
        """{"count" (of labels), "tasks", "sha256"}: over the rows in order of task and annotation id, a task's own first."""
        import numpy as np

        kind = [("task", ">i8"), ("annotation", ">i8"), ("hash", "V32")]
        rows = np.frombuffer(self._rows, dtype=kind)
        order = np.lexsort((rows["annotation"], rows["task"]))
        digest = hashlib.sha256()
        for start in range(0, len(order), 100_000):
            digest.update(rows[order[start : start + 100_000]].tobytes())
        tasks = int((rows["annotation"] == _IS_TASK).sum())
        return {"count": len(rows) - tasks, "tasks": tasks, "sha256": digest.hexdigest()}


_ROW = struct.Struct(">qq32s")
#: In place of an annotation's id.
_IS_TASK = -1


def json_bytes(value: Any) -> bytes:
    """Canonical JSON; also of what orjson refuses (lone surrogates, numbers of more than 64 bits)."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def regions_of(task_id: int, annotation_id: int, result: Iterable[Region]) -> list[tuple[Any, ...]]:
    """Rows of REGIONS_SCHEMA for the labelled regions of one Label Studio result; a region with two labels is two rows.

    Numbers are null where Label Studio has something else there.
    """
    rows = []
    for region in result:
        value = region.get("value") if isinstance(region, Mapping) else None
        labels = value.get(region.get("type", "")) if isinstance(value, Mapping) else None
        if not labels or not isinstance(value, Mapping):
            continue
        of, at = region.get, value.get
        offsets = value.get("globalOffsets")
        lies = offsets.get if isinstance(offsets, Mapping) else at
        about = (_text(of("from_name")), _text(of("type")), _text(of("id")))
        place = (
            _real(at("x")), _real(at("y")), _real(at("width")), _real(at("height")), _real(at("rotation")),
            _whole(of("original_width")), _whole(of("original_height")), _offset(lies("start")), _offset(lies("end")),
            _text(at("text")),
        )  # fmt: skip
        for label in labels if isinstance(labels, list) else [labels]:
            name = " / ".join(map(str, label)) if isinstance(label, list) else str(label)
            rows.append((task_id, annotation_id, *about, name, *place))
    return rows


def _text(value: Any) -> str | None:
    return value if value is None or type(value) is str else json_bytes(value).decode()


def _real(value: Any) -> float | None:
    kind = type(value)
    return float(value) if (kind is float or kind is int) and -(2**53) < value < 2**53 else None


def _whole(value: Any) -> int | None:
    kind = type(value)
    return int(value) if (kind is float or kind is int) and -(2**53) < value < 2**53 else None


def _offset(value: Any) -> int | None:
    """Where a span lies in its document, in code points: of HTML by its global offsets, of a dialogue's turn nowhere."""
    return _whole(value) if type(value) is int else None


class DatasetWriter:
    """Writes a version part by part into a folder; it is one only when `finish` has written its manifest."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.counts = Counter({"tasks": 0, "labels": 0, "truths": 0, "regions": 0})
        self._files = {
            name: _open_table(folder / f"{name}.parquet", schema)
            for name, schema in (("tasks", TASKS_SCHEMA), ("labels", LABELS_SCHEMA), ("regions", REGIONS_SCHEMA))
        }

    def add(self, tasks: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]]) -> None:
        """Some tasks with all of their labels (rows of TASKS_SCHEMA and LABELS_SCHEMA; what is absent is null)."""
        regions = [
            row
            for label in labels
            if label["is_truth"]
            for row in regions_of(label["task_id"], label["annotation_id"], orjson.loads(label["result"]))
        ]
        self._write("tasks", [[row.get(name) for row in tasks] for name, _ in TASKS_SCHEMA], len(tasks))
        self._write("labels", [[row.get(name) for row in labels] for name, _ in LABELS_SCHEMA], len(labels))
        self._write("regions", list(zip(*regions, strict=True)) or [()] * len(REGIONS_SCHEMA), len(regions))
        self.counts["truths"] += sum(1 for label in labels if label["is_truth"])

    def _write(self, name: str, columns: Sequence[Sequence[Any]], count: int) -> None:
        """One row group of a table."""
        import pyarrow as pa

        file = self._files[name]
        arrays = [pa.array(column, type=kind) for column, kind in zip(columns, file.schema.types, strict=True)]
        file.write_table(pa.table(arrays, schema=file.schema), row_group_size=max(count, 1))
        self.counts[name] += count

    def finish(
        self, body: Mapping[str, Any], parent: str | None, created_at: str, told: Mapping[str, Any] | None = None
    ) -> str:
        """Close the tables, write the manifest last, and return the version's id; `told` is no part of the hash."""
        self.close()
        dataset_id = dataset_id_of(body)
        manifest = {
            "dataset_id": dataset_id, "parent": parent, "created_at": created_at, "counts": dict(self.counts),
            **(told or {}), "body": dict(body),
        }  # fmt: skip
        write_manifest(self.folder, manifest)
        return dataset_id

    def close(self) -> None:
        """Close the tables without making them a version."""
        for file in self._files.values():
            file.close()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Put a manifest in its place at once."""
    partial = folder / f"{MANIFEST}.part"
    partial.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    partial.replace(folder / MANIFEST)


def write_dataset(
    folder: Path,
    body: Mapping[str, Any],
    tasks: Sequence[Mapping[str, Any]],
    labels: Sequence[Mapping[str, Any]],
    parent: str | None,
    created_at: str,
) -> str:
    """Write a dataset version whose rows are all at hand into `folder` (made if absent) and return its id."""
    of_task: dict[int, list[Mapping[str, Any]]] = {}
    for label in labels:
        of_task.setdefault(label["task_id"], []).append(label)
    ordered = sorted(tasks, key=lambda row: row["task_id"])
    writer = DatasetWriter(folder)
    for start in range(0, max(len(ordered), 1), PART_TASKS):
        part = ordered[start : start + PART_TASKS]
        found = [label for task in part for label in of_task.pop(task["task_id"], [])]
        if start + PART_TASKS >= len(ordered):
            found += [label for rows in of_task.values() for label in rows]
        writer.add(part, found)
    return writer.finish(body, parent, created_at)


def read_dataset(folder: Path) -> Dataset:
    """Open a dataset version; DataError when the folder holds none or the manifest does not match its id."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise DataError(f"{folder} holds no readable dataset version ({MANIFEST}): {error}") from error
    return Dataset(folder, read_manifest(content, str(folder)))


def read_manifest(content: bytes, where: str) -> dict[str, Any]:
    """A manifest that is what its id says; DataError names `where` it lies."""
    try:
        manifest: dict[str, Any] = orjson.loads(content)
        body, dataset_id = manifest["body"], manifest["dataset_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{where} holds no readable dataset version ({MANIFEST}): {error}") from error
    if dataset_id_of(body) != dataset_id:
        raise DataError(f"{where}: the manifest was changed after it was written; make the version again")
    return manifest


def part_count(folder: Path) -> int:
    """How many parts a version in a folder has; 1 for one of an older schema, which is read whole."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(folder / "tasks.parquet") as tasks, pq.ParquetFile(folder / "labels.parquet") as labels:
        return tasks.num_row_groups if tasks.num_row_groups == labels.num_row_groups else 1


def read_part(folder: Path, number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part `number` of the version in a folder: (rows of tasks, rows of their labels)."""
    import pyarrow.parquet as pq

    whole = part_count(folder) == 1
    found = []
    for name in ("tasks", "labels"):
        with pq.ParquetFile(folder / f"{name}.parquet") as file:
            found.append((file.read() if whole else file.read_row_group(number)).to_pylist())
    return found[0], found[1]


def _open_table(path: Path, schema: Schema) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, arrow_schema(schema), compression="zstd")


def arrow_schema(schema: Schema) -> pa.Schema:
    """A schema of this module as pyarrow's."""
    import pyarrow as pa

    types = {"time": pa.timestamp("us", "UTC")}
    return pa.schema([(name, types.get(type_) or pa.type_for_alias(type_)) for name, type_ in schema])
