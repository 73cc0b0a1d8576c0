"""Parquet read back: the tables that are written here, and files of other tools with a text or an image and its label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from sync.formats import provenance
from sync.formats.fitting import config_beside
from sync.formats.reading import Labelled, Unread
from sync.formats.row_reading import SPLIT_NAMES, RowItem, labelled_rows
from sync.formats.rows import region_of
from sync.formats.simple_records import BadRecord, simple_item

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BATCH = 1000


def read_parquet(path: Path, *, task: str | None, config: LabelConfig | None, images: Path | None) -> Labelled:
    """Open the tables of an export, or Parquet files whose rows are simple records; DataError when there are none."""
    folder = path if path.is_dir() else path.parent
    chosen = config or config_beside(folder)
    if path.is_dir() and (path / "tasks").is_dir():
        files = _files(path / "tasks")
        count = sum(_opened(file).metadata.num_rows for file in files)

        def read_own(rejected: list[Unread]) -> Iterator[RowItem]:
            for file in files:
                yield from _own_items(path, file, rejected)

        return labelled_rows(read_own, folder, config=chosen, images=images, count=count)
    files = _files(path)

    def read_simple(rejected: list[Unread]) -> Iterator[RowItem]:
        for file in files:
            for number, row in enumerate(_rows(file), start=1):
                place = f"{file.name}, row {number}"
                try:
                    yield simple_item(_plain(row), place, chosen)
                except BadRecord as bad:
                    rejected.append(Unread(place, "bad_record", str(bad)))

    return labelled_rows(read_simple, folder, config=chosen, images=images)


def _files(path: Path) -> list[Path]:
    below = sorted(path.rglob("*.parquet")) if path.is_dir() else []
    found = [path] if path.is_file() else [file for file in below if file.name != provenance.FILE]
    if not found:
        raise DataError(f"{path} has no Parquet file; expected an export with tasks/ and regions/, or *.parquet")
    return found


def _opened(path: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with _opened(path) as file:
        for batch in file.iter_batches(_BATCH):
            yield from batch.to_pylist()


def _own_items(folder: Path, tasks: Path, rejected: list[Unread]) -> Iterator[RowItem]:
    """The tasks of one file with the regions of the file of the same name; both are in the order of the tasks."""
    regions = _Regions(folder / "regions" / tasks.relative_to(folder / "tasks"))
    split = SPLIT_NAMES.get(tasks.parent.name.removeprefix("split="))
    for row in _rows(tasks):
        source = f"{tasks.relative_to(folder)}, task {row['task_id']}"
        found = regions.of_task(row["task_id"])
        try:
            item = _own_item(row, split, source)
            for rows in _by_region(found):
                item.regions.append(
                    region_of(_cells(rows[0]), [r["label"] for r in rows if r["label"] is not None], None)
                )
                for each in rows:
                    if each.get("class_id") is not None:
                        item.ids[str(each["control"]), each["label"]] = each["class_id"]
        except (KeyError, orjson.JSONDecodeError) as error:
            rejected.append(Unread(source, "bad_row", f"expected the columns of labelloop's Parquet: {error!r}"))
            continue
        yield item
    left = regions.left()
    if left is not None:
        detail = f"regions of task {left} come after all tasks; expected them in the order of the tasks"
        rejected.append(Unread(str(regions.path.relative_to(folder)), "out_of_order", detail))


class _Regions:
    """The rows of regions, taken task by task."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _rows(path) if path.is_file() else iter(())
        self._next = next(self._rows, None)

    def of_task(self, task_id: int) -> list[dict[str, Any]]:
        """The rows of the next task."""
        found = []
        while self._next is not None and self._next["task_id"] == task_id:
            found.append(self._next)
            self._next = next(self._rows, None)
        return found

    def left(self) -> int | None:
        """The task of the first row that nobody took."""
        return None if self._next is None else int(self._next["task_id"])


def _own_item(row: Mapping[str, Any], split: str | None, source: str) -> RowItem:
    at = row["at"]
    return RowItem(
        orjson.loads(row["data"]),
        source,
        meta=orjson.loads(row["meta"] or "{}"),
        split=split,
        group=row["group"],
        annotator=None if row["annotator"] is None else str(row["annotator"]),
        at=at.isoformat() if isinstance(at, datetime) else None,
        files=orjson.loads(row.get("files") or "[]"),
    )


def _by_region(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows that differ in their class alone are of one region."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if found and any(row[key] != found[0][key] for key in row if key not in ("label", "class_id")):
            yield found
            found = []
        found.append(row)
    if found:
        yield found


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{key: orjson.loads(row[key]) for key in ("points", "rest") if row[key] is not None}}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with values that JSON can say; times as ISO text, bytes left out."""
    return {
        key: value.isoformat() if isinstance(value, date) else value
        for key, value in row.items()
        if not isinstance(value, bytes)
    }
