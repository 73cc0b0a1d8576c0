"""JSONL as written: whole, and with one schema for DuckDB and Polars; lines of other tools as labelled items."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from PIL import Image

from labelloop.errors import DataError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
from row_exports import SHAPES, TEXTS, box, choice, exported, read, region, span, task


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "tasks.jsonl").read_text(encoding="utf-8").splitlines()]


def mixed() -> list[dict[str, Any]]:
    polygon = {"points": [[0, 0], [10, 0.5], [5, 9]], "closed": True, "polygonlabels": ["zebra"]}
    return [
        task(1, {"image": "a.png", "n": 1}, [box(1, 2, 3, 4, "=ant", "zebra"), choice("quality", "a,b", to="image")]),
        task(2, {"image": "b.png"}, [region("polygonlabels", "polygon", "image", polygon)], meta={"shelf": {"n": [1]}}),
        task(3, {"image": "c.png"}, []),
        task(4, {"image": "d.png"}, None),
    ]


def test_a_line_says_everything_of_a_task(tmp_path: Path) -> None:
    out, report = exported(tmp_path, "jsonl", mixed(), SHAPES)
    assert (report.items, report.objects) == (3, 4)
    first, second, third = lines_of(out)
    assert (first["task_id"], first["annotation_id"], first["split"], first["data"]) == (
        1,
        10,
        "train",
        {"image": "a.png", "n": 1},
    )
    drawn, chosen = first["regions"]
    assert (drawn["labels"], drawn["class_ids"], drawn["kind"], drawn["control"]) == (
        ["=ant", "zebra"],
        [1, 0],
        "rectanglelabels",
        "box",
    )
    assert [drawn[name] for name in "xywh"] == [1.0, 2.0, 3.0, 4.0]
    assert (drawn["width"], drawn["height"], drawn["source"], drawn["rest"]) == (200, 100, "person", None)
    assert (chosen["labels"], chosen["x"]) == (["a,b"], None)
    assert second["regions"][0]["points"] == [[0.0, 0.0], [10.0, 0.5], [5.0, 9.0]]
    assert json.loads(second["regions"][0]["rest"]) == {"value": {"closed": True}}
    assert (second["meta"], third["meta"], third["regions"]) == ({"shelf": {"n": [1]}}, None, [])
    assert first["images"] == [{"address": "a.png", "file": None, "width": 200, "height": 100}]
    assert (first["annotator"], first["at"], first["review_status"]) == (7, "2026-01-01T00:00:00.500000Z", "unreviewed")
    keys = {tuple(line) for line in lines_of(out)}
    assert len(keys) == 1
    assert len({tuple(each) for line in lines_of(out) for each in line["regions"]}) == 1


def test_duckdb_and_polars_find_the_same(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, "jsonl", mixed(), SHAPES)
    file = str(out / "tasks.jsonl")
    regions = duckdb.read_json(file).project("task_id, unnest(regions, recursive := true)")
    assert regions.aggregate("count(*), sum(len(labels)), sum(w)").fetchall() == [(3, 4, 3.0)]
    frame = pl.read_ndjson(file, infer_schema_length=None)
    assert frame["regions"].list.len().to_list() == [2, 1, 0]
    flat = frame.explode("regions").drop_nulls("regions").unnest("regions", separator=".")
    assert flat["regions.labels"].to_list() == [["=ant", "zebra"], ["a,b"], ["zebra"]]
    frame.write_parquet(tmp_path / "again.parquet")


def test_meta_groups_and_sizes_come_back(tmp_path: Path) -> None:
    sized = {"labelloop": {"width": 64, "height": 48, "group": "g1"}}
    out, _ = exported(tmp_path, "jsonl", [task(1, {"image": "a.png"}, [], meta=sized)])
    _, (item,) = read(out, "jsonl")
    assert (item.meta, item.group, item.size, item.result) == (sized, "g1", (64, 48), [])


def test_copied_images_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "here" / "a.png")
    out, _ = exported(tmp_path, "jsonl", [task(1, {"image": "/d/a.png"}, [box(1, 2, 3, 4)])], images=tmp_path / "here")
    assert lines_of(out)[0]["images"][0]["file"] == "images/train/d/a.png"
    _, (item,) = read(out, "jsonl")
    assert item.media == out / "images/train/d/a.png"


def test_there_are_no_options_and_no_tasks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no options, got 'indent'"):
        exported(tmp_path, "jsonl", [task(1, {"image": "a.png"}, [])], values={"indent": "2"})
    with pytest.raises(UsageError, match="has no variants"):
        exported(tmp_path, "jsonl", [task(1, {"image": "a.png"}, [])], task="ner")


# -- lines of others ----------------------------------------------------------------------------------------------------


def written(folder: Path, *records: Any) -> Path:
    path = folder / "theirs.jsonl"
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in records))
    return path


def test_texts_with_labels(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"text": "a", "label": "pos", "id": 5},
        {"text": "b", "labels": ["x", "y"], "split": "dev"},
        {"text": "c", "label": None},
    )
    found, items = read(path, "jsonl")
    assert [item.data for item in items] == [{"text": "a", "id": 5}, {"text": "b"}, {"text": "c"}]
    assert [[r["value"]["choices"] for r in item.result] for item in items] == [[["pos"]], [["x", "y"]], []]
    assert items[1].split == "val"
    assert {control.name for control in found.config.controls} == {"label", "labels"}


@pytest.mark.parametrize(
    "record",
    [
        {"text": "Ada met Bo", "spans": [{"start": 0, "end": 3, "label": "PER", "token_start": 0}]},
        {"text": "Ada met Bo", "label": [[0, 3, "PER"]]},
        {"text": "Ada met Bo", "entities": [{"start_offset": 0, "end_offset": 3, "label": "PER"}]},
    ],
)
def test_spans_as_three_tools_write_them(tmp_path: Path, record: dict[str, Any]) -> None:
    found, (item,) = read(written(tmp_path, record), "jsonl")
    (only,) = item.result
    assert only["value"] == {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}
    assert found.config.controls[0].tag == "Labels"
    assert item.data == {"text": "Ada met Bo"}


def test_bad_lines_do_not_cost_the_others(tmp_path: Path) -> None:
    good = {"text": "a", "label": "pos"}
    path = written(
        tmp_path, "\ufeff" + json.dumps(good), "{", "[1]", {"text": "x"}, {"text": "x", "spans": [[0, 9, "P"]]},
        {"text": "x", "label": 5}, {"data": {"text": "x"}, "regions": [{}]}, "", good,
    )  # fmt: skip
    found, items = read(path, "jsonl")
    assert len(items) == 2
    assert [(each.source, each.reason) for each in found.rejected] == [
        ("theirs.jsonl, line 2", "bad_json"),
        *((f"theirs.jsonl, line {number}", "bad_record") for number in (3, 4, 5, 6, 7)),
    ]
    assert "got the keys text" in found.rejected[2].detail


def test_a_file_without_any_label_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no label is in the files.*theirs.jsonl, line 1: expected a task"):
        read(written(tmp_path, {"sentence": "x"}), "jsonl")


def test_spans_of_our_own_texts_are_exact(tmp_path: Path) -> None:
    text = "\U0001f600 two\r\nlines"
    marked = [span(text, 0, 1, "zebra"), span(text, 2, 12, "a,b", meta={"text": ["why"]}, readonly=True)]
    out, _ = exported(tmp_path, "jsonl", [task(1, {"text": text}, marked)], TEXTS)
    _, (item,) = read(out, "jsonl")
    assert item.result == marked
