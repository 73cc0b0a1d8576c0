"""CSV: one row per label of each truth annotation, with where it came from; opens safely in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from labelloop.datasets import Dataset, regions_of
from sync.formats.report import Written
from sync.formats.source import ExportOptions, Item, items_of

FILE = "labels.csv"
COLUMNS = (
    "task_id", "annotation_id", "control", "kind", "region_id", "label", "x", "y", "w", "h", "rot", "width", "height",
    "start", "end", "text", "data", "split", "annotator", "at", "shown_serving_id", "rev_hash", "source",
    "review_status",
)  # fmt: skip
LOSSES = (
    "annotations of other people than the one that counts as truth",
    "regions without labels, relations, and the points of polygons and brushes",
    "a cell that a spreadsheet would run as a formula has ' before it",
)
#: First characters with which a spreadsheet takes a cell for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(dataset: Dataset, folder: Path, options: ExportOptions) -> Written:
    """Write labels.csv (RFC 4180, UTF-8); a task in which nothing was marked has one row without a label."""
    items = objects = 0
    skipped: list[tuple[int, str]] = []
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\r\n")
        table.writeheader()
        for item in items_of(dataset):
            items += 1
            rows = regions_of(item.task_id, item.annotation_id, item.result)
            objects += len(rows)
            skipped += _without_label(item)
            for row in rows or [{"task_id": item.task_id, "annotation_id": item.annotation_id}]:
                table.writerow({name: escaped(value) for name, value in (row | _origin(item, row)).items()})
    return Written(items, objects, tuple(skipped), LOSSES, (FILE,), {"columns": list(COLUMNS)})


def count_csv(folder: Path) -> tuple[int, int]:
    """(tasks, labels) as they lie on the disk."""
    with (folder / FILE).open(encoding="utf-8", newline="") as file:
        rows = [(row["task_id"], row["label"]) for row in csv.DictReader(file)]
    return len({task for task, _ in rows}), sum(1 for _, label in rows if label)


def escaped(value: Any) -> Any:
    """A text cell that a spreadsheet could take for a formula gets a ' before it; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _origin(item: Item, row: dict[str, Any]) -> dict[str, Any]:
    origins = {region.get("id"): region.get("origin") for region in item.result}
    return {
        "data": orjson.dumps(item.data, option=orjson.OPT_SORT_KEYS).decode(),
        "split": item.split,
        "annotator": item.annotator,
        "at": item.at.isoformat(),
        "shown_serving_id": item.shown_serving_id,
        "rev_hash": item.rev_hash,
        "source": origins.get(row.get("region_id")) or "manual",
        "review_status": "unreviewed",
    }


def _without_label(item: Item) -> Iterator[tuple[int, str]]:
    for region in item.result:
        if not regions_of(item.task_id, item.annotation_id, [region]):
            yield item.task_id, f"region {region.get('id')}: {region.get('type')} has no label to put in a row"
