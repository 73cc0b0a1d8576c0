"""Parquet tables as written: one schema of plain types for DuckDB, Polars and pyarrow; and tables of others as items."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelloop.errors import DataError
from sync.formats.parquet_groups import in_groups
from sync.formats.parquet_tables import REGIONS, TASKS

sys.path.insert(0, str(Path(__file__).parent))
from row_exports import BOXES, box, exported, read, task

PLAIN = {pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.timestamp("us", "UTC")}


def some(count: int = 40) -> list[dict[str, object]]:
    return [
        task(n, {"image": f"{n}.png"}, [box(1, 2, 3, 4, "zebra", "ant"), box(5, 6, 7, 8)] if n % 4 else [])
        for n in range(1, count + 1)
    ]


def test_duckdb_polars_and_pyarrow_find_the_same(tmp_path: Path) -> None:
    out, report = exported(tmp_path, "parquet", some(), train_share=0.6, test_share=0.2)
    assert (report.items, report.objects) == (40, 90)
    assert set(report.splits) == {"train", "val", "test"}
    by_split = duckdb.read_parquet(f"{out}/tasks/*/*.parquet", hive_partitioning=True).aggregate("split, count(*)")
    assert dict(by_split.fetchall()) == report.splits
    regions = duckdb.read_parquet(f"{out}/regions/*/*.parquet", hive_partitioning=True)
    ants = regions.filter("label = 'ant'").aggregate('count(*), sum(w), max(epoch_us("at"))')
    assert ants.fetchall() == [(60, 300.0, 1_767_225_600_500_000)]
    frame = pl.scan_parquet(out / "regions", hive_partitioning=True).collect()
    assert (frame.height, frame["task_id"].n_unique(), set(frame["split"])) == (90, 30, set(report.splits))
    table = ds.dataset(out / "regions", partitioning="hive").to_table()
    assert table.num_rows == 90
    assert table.column("class_id").to_pylist() == frame["class_id"].to_list()
    tasks = pl.scan_parquet(out / "tasks", hive_partitioning=True).collect()
    joined = tasks.join(frame, on="task_id", how="left").filter(pl.col("label").is_null())
    assert joined.height == 10
    assert tasks["n_regions"].sum() == 90


def test_types_are_plain(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, "parquet", some(4))
    for table, columns in (("tasks", TASKS), ("regions", REGIONS)):
        schema = pq.read_schema(out / table / "split=train" / "part-0.parquet")
        assert schema.names == [name for name, _ in columns]
        assert {field.type for field in schema} <= PLAIN
        assert "split" not in schema.names
    assert schema.field("at").type == pa.timestamp("us", "UTC")
    physical = pq.ParquetFile(out / "regions" / "split=train" / "part-0.parquet").schema
    names = {physical.column(n).name: str(physical.column(n).logical_type) for n in range(len(physical))}
    assert "isAdjustedToUTC=true" in names["at"] and "microseconds" in names["at"]
    assert names["label"] == "String"


def test_negatives_have_a_task_and_no_region(tmp_path: Path) -> None:
    out, report = exported(tmp_path, "parquet", [task(1, {"image": "a.png"}, []), task(2, {"image": "b.png"}, None)])
    assert (report.items, report.objects) == (1, 0)
    assert pq.read_table(out / "tasks" / "split=train" / "part-0.parquet").num_rows == 1
    assert pq.read_table(out / "regions" / "split=train" / "part-0.parquet").num_rows == 0
    _, (item,) = read(out, "parquet")
    assert (item.data, item.result) == ({"image": "a.png"}, [])


def test_row_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.formats.parquet_groups.GROUP_ROWS", 10)
    schema = pa.schema([("a", pa.string())])
    tables = [pa.table({"a": pa.array(["x"] * 4, pa.large_string())}) for _ in range(7)]
    groups = list(in_groups(tables, schema))
    assert [len(group) for group in groups] == [12, 12, 4]
    assert all(group.schema == schema for group in groups)
    monkeypatch.setattr("sync.formats.parquet_groups.GROUP_BYTES", 1)
    assert [len(group) for group in in_groups(tables, schema)] == [4] * 7


def test_copied_images_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "here" / "a.png")
    tasks = [task(1, {"image": "/d/a.png"}, [box(1, 2, 3, 4)])]
    out, _ = exported(tmp_path, "parquet", tasks, BOXES, images=tmp_path / "here")
    _, (item,) = read(out, "parquet")
    assert item.media == out / "images/train/d/a.png"


def test_regions_out_of_order_are_told(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, "parquet", some(3))
    file = out / "regions" / "split=train" / "part-0.parquet"
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.sort_by([("task_id", "descending")]), file)
    found, items = read(out, "parquet")
    assert len(items) == 3
    assert [each.reason for each in found.rejected] == ["out_of_order"]
    assert "regions of task 2" in found.rejected[0].detail


def test_tables_of_others(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "text": ["Ada met Bo", "x", "y"],
            "label": ["pos", None, "neg"],
            "spans": [[{"start": 0, "end": 3, "label": "PER"}], [], [{"start": 5, "end": 9, "label": "PER"}]],
            "seen": [None, None, None],
        }
    ).with_columns(pl.date(2026, 1, 1).alias("day"))
    frame.write_parquet(tmp_path / "theirs.parquet")
    found, items = read(tmp_path / "theirs.parquet", "parquet")
    assert [item.data for item in items] == [
        {"text": text, "seen": None, "day": "2026-01-01"} for text in ("Ada met Bo", "x")
    ]
    assert [r["type"] for r in items[0].result] == ["labels", "choices"]
    assert [(each.source, each.reason) for each in found.rejected] == [("theirs.parquet, row 3", "bad_record")]
    assert [control.tag for control in found.config.controls] == ["Labels", "Choices"]


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no Parquet file; expected an export with tasks/ and regions/"):
        read(tmp_path, "parquet")
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(DataError, match=r"a\.parquet is no readable Parquet file"):
        read(tmp_path, "parquet")
