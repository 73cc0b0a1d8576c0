"""A dataset version as the formats read it: each task with its truth label, and how regions turn into objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import polars as pl

from labelloop.datasets import Dataset
from labelloop.values import Region


@dataclass(frozen=True)
class Item:
    """One task with its truth label."""

    task_id: int
    data: dict[str, Any]
    group_key: str
    split: str
    annotation_id: int
    annotator: int | None
    at: datetime
    rev_hash: str
    shown_serving_id: str | None
    result: list[Region]


@dataclass(frozen=True)
class ExportOptions:
    """What an export may be told: the variant, image sizes by task id, and the share of the training part."""

    task: str | None = None
    sizes: Mapping[int, tuple[int, int]] | None = None
    train_share: float = 0.85


def items_of(dataset: Dataset) -> Iterator[Item]:
    """Every task with a truth label, by task id; tasks that nobody labelled are not in a dataset."""
    labels = dataset.labels.lazy().filter(pl.col("is_truth"))
    rows = labels.join(dataset.tasks.lazy(), on="task_id", how="inner").sort("task_id").collect()
    for row in rows.iter_rows(named=True):
        yield Item(
            row["task_id"],
            orjson.loads(row["data"]),
            row["group_key"],
            row["split"],
            row["annotation_id"],
            row["annotator"],
            row["at"],
            row["rev_hash"],
            row["shown_serving_id"],
            orjson.loads(row["result"]),
        )


def part_of(group_key: str, train_share: float) -> str:
    """ "train" or "dev": decided by the group alone, so that it stays when tasks are added and groups stay together."""
    digest = hashlib.sha256(b"export split\x1f" + group_key.encode()).digest()
    return "train" if int.from_bytes(digest[:6], "big") / 2**48 < train_share else "dev"


def media_path(address: str) -> str:
    """The path part of a task's media address, without server, query or leading slash; `?d=` names local files."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d") if parts.query else None
    path = local[0] if local else unquote(parts.path)
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))
