"""A dataset version on disk: immutable Parquet tables and a manifest, named by the hash of what they hold.

    <folder>/manifest.json    schema version, project, entries, label config, classes, filters, policy, split
             tasks.parquet    task_id, data (JSON), group_key, role, split {"train", "holdout"}
             labels.parquet   task_id, annotation_id, annotator, at, rev_hash, lead_time_s, shown_serving_id, is_truth, result
             regions.parquet  one row per region of a truth label: REGION_COLUMNS

A training sees a *materialised* copy: the same tables, and media/<task_id><suffix> for tasks that have media. One label
per task is its truth (`is_truth`), by the manifest's policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.values import Region

SCHEMA_VERSION = 1

TASKS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "task_id": pl.Int64,
    "data": pl.String,
    "meta": pl.String,
    "group_key": pl.String,
    "role": pl.String,
    "split": pl.String,
}
LABELS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "task_id": pl.Int64,
    "annotation_id": pl.Int64,
    "annotator": pl.Int64,
    "at": pl.Datetime("us", "UTC"),
    "rev_hash": pl.String,
    "lead_time_s": pl.Float64,
    "shown_serving_id": pl.String,
    "is_truth": pl.Boolean,
    "result": pl.String,
}
REGIONS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "task_id": pl.Int64, "annotation_id": pl.Int64, "control": pl.String, "kind": pl.String, "region_id": pl.String,
    "label": pl.String, "x": pl.Float64, "y": pl.Float64, "w": pl.Float64, "h": pl.Float64, "rot": pl.Float64,
    "width": pl.Int64, "height": pl.Int64, "start": pl.Int64, "end": pl.Int64, "text": pl.String,
}  # fmt: skip


_parsed = lru_cache(maxsize=8)(parse_label_config)


@dataclass(frozen=True)
class Dataset:
    """A dataset version opened for reading."""

    path: Path
    manifest: Mapping[str, Any]
    tasks: pl.DataFrame
    labels: pl.DataFrame
    regions: pl.DataFrame

    @property
    def dataset_id(self) -> str:
        return str(self.manifest["dataset_id"])

    @property
    def label_config(self) -> LabelConfig:
        return _parsed(self.manifest["body"]["label_config"])

    def media(self, task_id: int, data: Mapping[str, Any]) -> dict[str, Path]:
        """The local media files of a task in a materialised copy, by address; empty where it has none."""
        found = {}
        for number, address in enumerate(self.label_config.media_addresses(data)):
            for file in (self.path / "media").glob(f"{task_id}-{number}.*"):
                found[address] = file
        return found

    def truth(self, split: str) -> list[tuple[int, dict[str, Any], list[Region]]]:
        """(task id, task data, regions of the truth label) of each task of a split, ordered by task id."""
        rows = (
            self.labels.filter(pl.col("is_truth"))
            .join(self.tasks.filter(pl.col("split") == split), on="task_id", how="inner")
            .sort("task_id")
        )
        return [(row["task_id"], orjson.loads(row["data"]), orjson.loads(row["result"])) for row in rows.to_dicts()]


def dataset_id_of(body: Mapping[str, Any]) -> str:
    """ "d" and 16 hex digits of the SHA-256 of the canonical manifest body: same content, same id on any machine."""
    return "d" + hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def regions_of(task_id: int, annotation_id: int, result: Iterable[Region]) -> list[dict[str, Any]]:
    """Rows of REGIONS_SCHEMA for the labelled regions of one Label Studio result; a region with two labels is two rows."""
    rows = []
    for region in result:
        value = region.get("value") or {}
        labels = value.get(region.get("type", "")) or []
        of, at = region.get, value.get
        for label in labels:
            rows.append(
                {
                    "task_id": task_id, "annotation_id": annotation_id, "control": of("from_name"),
                    "kind": of("type"), "region_id": of("id"),
                    "label": " / ".join(label) if isinstance(label, list) else str(label),
                    "x": at("x"), "y": at("y"), "w": at("width"), "h": at("height"), "rot": at("rotation"),
                    "width": of("original_width"), "height": of("original_height"), "start": _offset(value, "start"),
                    "end": _offset(value, "end"), "text": at("text"),
                }
            )  # fmt: skip
    return rows


def _offset(value: Mapping[str, Any], end: str) -> int | None:
    """Where a span lies in its document, in code points: of HTML by its global offsets, of a dialogue's turn nowhere."""
    offsets = value.get("globalOffsets")
    found = offsets.get(end) if isinstance(offsets, Mapping) else value.get(end)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def write_dataset(
    folder: Path,
    body: Mapping[str, Any],
    tasks: list[dict[str, Any]],
    labels: list[dict[str, Any]],
    parent: str | None,
    created_at: str,
) -> str:
    """Write a dataset version into `folder` (made if absent) and return its id; the manifest comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    regions = [
        row
        for label in labels
        if label["is_truth"]
        for row in regions_of(label["task_id"], label["annotation_id"], orjson.loads(label["result"]))
    ]
    pl.DataFrame(tasks, schema=TASKS_SCHEMA).write_parquet(folder / "tasks.parquet")
    pl.DataFrame(labels, schema=LABELS_SCHEMA).write_parquet(folder / "labels.parquet")
    pl.DataFrame(regions, schema=REGIONS_SCHEMA, infer_schema_length=None, strict=False).write_parquet(
        folder / "regions.parquet"
    )
    dataset_id = dataset_id_of(body)
    manifest = {"dataset_id": dataset_id, "parent": parent, "created_at": created_at, "body": dict(body)}
    partial = folder / "manifest.json.part"
    partial.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    partial.replace(folder / "manifest.json")
    return dataset_id


def read_dataset(folder: Path) -> Dataset:
    """Open a dataset version; DataError when the folder holds none or the manifest does not match its id."""
    try:
        manifest = orjson.loads((folder / "manifest.json").read_bytes())
        body, dataset_id = manifest["body"], manifest["dataset_id"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{folder} holds no readable dataset version (manifest.json): {error}") from error
    if dataset_id_of(body) != dataset_id:
        raise DataError(f"{folder}: the manifest was changed after it was written; make the version again")
    return Dataset(
        folder,
        manifest,
        pl.read_parquet(folder / "tasks.parquet"),
        pl.read_parquet(folder / "labels.parquet"),
        pl.read_parquet(folder / "regions.parquet"),
    )
