"""Erasing tasks from a dataset version that is already there: the one change that a version allows.

The rows stay, and with them ids, times and hashes; what the task and its labels said is emptied, and no label of it is a
truth any more. The version keeps its id: the manifest notes what was forgotten outside of what the id is made of.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelloop import folders
from labelloop.datasets import MANIFEST, TABLES, read_manifest, write_manifest
from labelloop.store.types import utc_now
from sync.version_pieces import held_tasks

if TYPE_CHECKING:
    import pyarrow as pa

#: What takes the place of a task's content, by table and column; columns that a version has not got are left out.
_EMPTY: Mapping[str, Mapping[str, Any]] = {
    "tasks": {"data": "{}", "meta": "{}", "group_key": None},
    "labels": {"result": "[]", "is_truth": False, "fired_rules": None, "left_out": "forgotten"},
}


def erase_from_version(uri: str, task_ids: Collection[int]) -> set[int]:
    """Empty these tasks in a version; those that it holds. May be stopped at any point and run again.

    The tables are replaced one by one, each at once, and fit each other at any point; the manifest comes last.
    """
    manifest = read_manifest(folders.read_file(uri, MANIFEST), uri)
    noted = {int(each["task_id"]): each for each in manifest.get("forgotten") or ()}
    held = held_tasks(uri, task_ids)
    todo = held - noted.keys()
    if todo:
        with tempfile.TemporaryDirectory(prefix="labelloop-forget-") as scratch:
            for table in TABLES:
                partial = Path(scratch) / f"{table}.parquet"
                _rewrite(uri, table, partial, todo)
                folders.replace_file(uri, partial.name, partial)
            at = utc_now().isoformat()
            noted |= {task_id: {"task_id": task_id, "at": at} for task_id in todo}
            manifest["forgotten"] = [noted[task_id] for task_id in sorted(noted)]
            write_manifest(Path(scratch), manifest)
            folders.replace_file(uri, MANIFEST, Path(scratch) / MANIFEST)
    return held


def _rewrite(uri: str, table: str, target: Path, task_ids: Collection[int]) -> None:
    """A table without the content of some tasks, row group by row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with folders.opened_file(uri, f"{table}.parquet") as stream, pq.ParquetFile(stream) as file:
        ids = pa.array(sorted(task_ids), pa.int64())
        with pq.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer:
            for number in range(file.num_row_groups):
                rows = _emptied(table, file.read_row_group(number), ids)
                writer.write_table(rows, row_group_size=max(rows.num_rows, 1))


def _emptied(table: str, rows: pa.Table, ids: pa.Array) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    meant = pc.is_in(rows["task_id"], value_set=ids)
    if not pc.any(meant).as_py():
        return rows
    if table not in _EMPTY:
        return rows.filter(pc.invert(meant))
    for name, value in _EMPTY[table].items():
        place = rows.schema.get_field_index(name)
        if place >= 0:
            kind = rows.schema.field(place).type
            rows = rows.set_column(
                place, rows.schema.field(place), pc.if_else(meant, pa.scalar(value, kind), rows[name])
            )
    return rows
