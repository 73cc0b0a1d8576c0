"""Rows of single tasks in a dataset version, wherever it lies: only the pieces that may have them are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from labelloop import folders
from labelloop.datasets import LABELS_SCHEMA


def held_tasks(uri: str, task_ids: Collection[int]) -> set[int]:
    """Which of these tasks a version has rows of, forgotten ones too."""
    return {row["task_id"] for row in _rows(uri, "tasks", task_ids, ["task_id"])}


def labels_of_task(uri: str, task_id: int) -> list[dict[str, Any]]:
    """The labels of one task, without what they say."""
    return list(_rows(uri, "labels", {task_id}, [name for name, _ in LABELS_SCHEMA if name != "result"]))


def _rows(uri: str, table: str, task_ids: Collection[int], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = sorted(task_ids)
    with folders.opened_file(uri, f"{table}.parquet") as stream, pq.ParquetFile(stream) as file:
        names = file.schema_arrow.names
        read = [name for name in columns if name in names]
        for number in range(file.num_row_groups):
            known = file.metadata.row_group(number).column(names.index("task_id")).statistics
            if known is not None and known.has_min_max and not any(known.min <= each <= known.max for each in wanted):
                continue
            rows = file.read_row_group(number, columns=read)
            found = rows.filter(pc.is_in(rows["task_id"], value_set=pa.array(wanted, pa.int64())))
            yield from found.to_pylist()
