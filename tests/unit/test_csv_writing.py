"""CSV as written: read by the csv module, DuckDB and Polars with the same counts; provenance, formulas, options, parts."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelloop.datasets import PART_TASKS
from labelloop.errors import DataError, UsageError
from sync.formats.csv_cells import escaped, escaped_column, unescaped
from sync.formats.label_table import COLUMNS

sys.path.insert(0, str(Path(__file__).parent))
from row_exports import BOXES, SHAPES, TEXTS, box, choice, exported, read, region, span, task

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


# -- readers ------------------------------------------------------------------------------------------------------------


def test_three_readers_find_the_same_rows(tmp_path: Path) -> None:
    text = 'one, "two"\r\nthree'
    tasks = [
        task(1, {"text": text}, [span(text, 0, 3, "a,b", 'quo"te'), span(text, 5, 10, "two\nlines")]),
        task(2, {"text": ""}, []),
        task(3, {"text": "nobody"}, None),
    ]
    out, report = exported(tmp_path, "csv", tasks, TEXTS)
    assert (report.items, report.objects) == (2, 3)
    raw = (out / "labels.csv").read_bytes()
    assert raw.startswith(b"task_id,annotation_id,split,") and raw.endswith(b"\r\n")
    rows = rows_of(out)
    assert [row["label"] for row in rows] == ["a,b", 'quo"te', "two\nlines", ""]
    assert [row["data.text"] for row in rows] == [text] * 3 + [""]
    assert [row["text"] for row in rows] == ["one", "one", '"two"', ""]
    found = duckdb.read_csv(str(out / "labels.csv"))
    assert found.aggregate("count(*), count(label), count(distinct task_id)").fetchall() == [(4, 3, 2)]
    frame = pl.read_csv(out / "labels.csv", try_parse_dates=True)
    assert (frame.height, frame["label"].count(), frame["task_id"].n_unique()) == (4, 3, 2)
    assert frame["label"].to_list() == ["a,b", 'quo"te', "two\nlines", None]
    assert frame.schema["at"] == pl.Datetime("us", "UTC")
    assert frame["start"].to_list() == [0, 0, 5, None]


def test_columns_are_the_same_for_every_project(tmp_path: Path) -> None:
    images, _ = exported(tmp_path / "a", "csv", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])])
    texts, _ = exported(tmp_path / "b", "csv", [task(1, {"text": "t"}, [])], TEXTS)
    fixed = [name for name, _ in COLUMNS]
    assert list(rows_of(images)[0]) == [*fixed, "data.image"]
    assert list(rows_of(texts)[0]) == [*fixed, "data.text"]


def test_numbers_are_exact(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1e22]
    out, _ = exported(tmp_path, "csv", [task(1, {"image": "a.png"}, [box(*values)])])
    (row,) = rows_of(out)
    assert [float(row[name]) for name in "xywh"] == values
    assert (row["width"], row["height"], row["class_id"]) == ("200", "100", "1")


# -- provenance ---------------------------------------------------------------------------------------------------------


def test_who_made_a_label_and_how_sure_it_is(tmp_path: Path) -> None:
    shown = {"prediction": {"model_version": "yolo-p7-v12-r3", "result": [1]}}
    ruled = {"prediction": {"model_version": "rules-p7-v1-r1", "result": [1]}}
    tasks = [
        task(1, {"text": "a"}, [choice("topic", "zebra", origin="prediction", score=0.75)], annotation=shown),
        task(2, {"text": "b"}, [choice("topic", "zebra", origin="prediction-changed", score=0.75)], annotation=shown),
        task(3, {"text": "c"}, [choice("topic", "zebra", origin="prediction", score=1)], annotation=ruled),
        task(4, {"text": "d"}, [choice("topic", "zebra", score=0.5)], annotation={"ground_truth": True}),
    ]
    out, _ = exported(tmp_path, "csv", tasks, TEXTS)
    rows = rows_of(out)
    assert [(row["source"], row["confidence"], row["origin"], row["version"]) for row in rows] == [
        ("model", "0.75", "prediction", "yolo-p7-v12-r3"),
        ("person", "", "prediction-changed", "yolo-p7-v12-r3"),
        ("rule", "1.0", "prediction", "rules-p7-v1-r1"),
        ("person", "", "manual", ""),
    ]
    assert [row["ground_truth"] for row in rows] == ["false"] * 3 + ["true"]
    assert {(row["annotator"], row["at"], row["review_status"]) for row in rows} == {
        ("7", "2026-01-01T00:00:00.500000Z", "unreviewed")
    }
    assert len({row["rev_hash"] for row in rows}) == 4
    noted = pl.read_parquet(out / "provenance.parquet")
    for name in ("task_id", "region_id", "control", "label", "source", "version", "split", "annotator"):
        assert [row[name] for row in rows] == [str(each) if each is not None else "" for each in noted[name]]


def test_a_consensus_says_which_share_agreed(tmp_path: Path) -> None:
    from sync.formats.exporting import export_dataset
    from sync.formats.sources import open_export

    people = [
        {"id": n, "completed_by": n, "result": [choice("topic", label)], "updated_at": f"2026-01-0{n}T00:00:00Z"}
        for n, label in ((1, "zebra"), (2, "zebra"), (3, "a,b"))
    ]
    (tmp_path / "e.json").write_text(json.dumps([{"id": 1, "data": {"text": "t"}, "annotations": people}]))
    (tmp_path / "c.xml").write_text(TEXTS)
    export_dataset(open_export(tmp_path / "e.json", tmp_path / "c.xml", "majority"), "csv", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert (row["source"], row["n_labels"], row["n_agreeing"]) == ("consensus", "3", "2")
    assert float(row["confidence"]) == pytest.approx(2 / 3)


# -- formulas -----------------------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from(["'", *FORMULAS, "a", "1", " ", '"', ","]), max_size=6))
def test_a_cell_is_never_a_formula_and_comes_back(text: str) -> None:
    cell = escaped(text)
    assert not cell.startswith(FORMULAS)
    assert unescaped(cell) == text
    assert pl.DataFrame({"x": [text]}).select(escaped_column("x"))["x"].to_list() == [cell]


def test_formulas_in_data_classes_and_texts_are_escaped_and_numbers_are_not(tmp_path: Path) -> None:
    text = "=cmd|' /C calc'!A0"
    data = {"text": text, "n": -5, "s": "-5", "w": "'tis"}
    tasks = [task(1, data, [span(text, 0, 4, "=ant"), span(text, 1, 4, "'-x")])]
    out, _ = exported(tmp_path, "csv", tasks, TEXTS)
    first, second = rows_of(out)
    assert (first["data.text"], first["label"], first["text"]) == (f"'{text}", "'=ant", "'=cmd")
    assert (second["label"], second["text"]) == ("''-x", "cmd")
    assert (first["data.n"], first["data.s"], first["data.w"]) == ("-5", "'-5", "'tis")
    _, (item,) = read(out, "csv")
    assert item.data == data
    plain, _ = exported(tmp_path, "csv", tasks, TEXTS, values={"escape": "no"})
    assert (rows_of(plain)[0]["data.text"], rows_of(plain)[1]["label"]) == (text, "'-x")


# -- data ---------------------------------------------------------------------------------------------------------------


def test_data_as_json_or_not_at_all(tmp_path: Path) -> None:
    tasks = [task(1, {"text": "t", "n": {"k": [1, None]}}, [choice("topic", "zebra")])]
    out, _ = exported(tmp_path, "csv", tasks, TEXTS, values={"data": "json"})
    (row,) = rows_of(out)
    assert json.loads(row["data"]) == {"text": "t", "n": {"k": [1, None]}}
    out, report = exported(tmp_path, "csv", tasks, TEXTS, values={"data": "none"})
    assert list(rows_of(out)[0]) == [name for name, _ in COLUMNS]
    assert "the task's data" in report.declared_losses


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    tasks = [task(1, {"image": "a.png"}, [])]
    with pytest.raises(UsageError, match=r"knows the options \['data', 'escape'\], got 'sep'"):
        exported(tmp_path, "csv", tasks, values={"sep": ";"})
    with pytest.raises(UsageError, match=r"expected one of \['yes', 'no'\] as the option escape of csv"):
        exported(tmp_path, "csv", tasks, values={"escape": "maybe"})


def test_parts_with_other_keys_fit_under_one_header(tmp_path: Path) -> None:
    count = PART_TASKS + 2
    tasks = [task(n, {"image": f"{n}.png"}, [box(1, 2, 3, 4)]) for n in range(1, count + 1)]
    tasks[2]["data"] = {"first": "=1", "image": "3.png"}
    tasks[-1]["data"] = {"image": "z.png", "late": [1, 2]}
    out, report = exported(tmp_path, "csv", tasks)
    rows = rows_of(out)
    assert (report.objects, len(rows)) == (count, count)
    assert list(rows[0])[-3:] == ["data.image", "data.first", "data.late"]
    assert [(n, row["data.first"]) for n, row in enumerate(rows, start=1) if row["data.first"]] == [(3, "'=1")]
    assert [(n, row["data.late"]) for n, row in enumerate(rows, start=1) if row["data.late"]] == [(count, "[1,2]")]
    assert rows[-1]["data.image"] == "z.png" and rows[-1]["rev_hash"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["json_columns"] == ["data.late"]
    _, items = read(out, "csv")
    assert [item.data for item in items] == [each["data"] for each in tasks]


def test_cells_that_are_longer_than_what_is_counted_at_once(tmp_path: Path) -> None:
    text = "long\n" * 500_000
    tasks = [task(1, {"text": "short"}, [span("short", 0, 5, "a")]), task(2, {"text": text}, [span(text, 0, 4, "b")])]
    _, report = exported(tmp_path, "csv", tasks, TEXTS)
    assert (report.items, report.objects) == (2, 2)


@pytest.mark.parametrize("label", ["NA", "null", "nan", "N/A", "None"])
def test_a_class_may_be_called_like_nothing(tmp_path: Path, label: str) -> None:
    text = "one"
    out, report = exported(tmp_path, "csv", [task(1, {"text": text}, [span(text, 0, 3, label)])], TEXTS)
    assert (report.items, report.objects) == (1, 1)
    (row,) = rows_of(out)
    assert row["label"] == label


def test_data_that_is_no_table_is_refused_with_a_way_out(tmp_path: Path) -> None:
    tasks = [task(1, {"image": "a.png"} | {f"k{n}": n for n in range(1000)}, [])]
    with pytest.raises(DataError, match=r"1001 different keys.*data=json"):
        exported(tmp_path, "csv", tasks)
    out, _ = exported(tmp_path, "csv", tasks, values={"data": "json"})
    assert len(rows_of(out)) == 1


# -- what is broken -----------------------------------------------------------------------------------------------------


def test_broken_regions_are_named_and_the_others_written(tmp_path: Path) -> None:
    good = box(1, 2, 3, 4)
    broken: list[dict[str, Any]] = [
        good | {"id": "none", "value": {"x": None, "y": 1, "width": 2, "height": 3, "rectanglelabels": ["ant"]}},
        good | {"id": "lacks", "value": {"x": 1, "rectanglelabels": ["ant"]}},
        good | {"id": "list", "value": [1]},
        good | {"id": "untyped", "type": None},
        good | {"id": "classes", "value": {"x": 1, "y": 1, "width": 2, "height": 3, "rectanglelabels": [None]}},
        good | {"id": "text", "value": {"x": "1", "y": 1, "width": 2, "height": 3, "rectanglelabels": ["ant"]}},
        region("polygonlabels", "polygon", "image", {"points": [[1, 2], [3]], "polygonlabels": ["zebra"]}, id="points"),
        region("brushlabels", "brush", "image", {"format": "rle", "brushlabels": ["zebra"]}, id="rle"),
        {"id": "odd", "from_name": ["x"], "type": "rating", "value": {"rating": 4}},
    ]
    out, report = exported(tmp_path, "csv", [task(1, {"image": "a.png"}, [*broken, good])], SHAPES)
    assert [reason.split(": ")[0] for _, reason in report.skipped] == [
        f"region {name}" for name in ("none", "lacks", "list", "untyped", "classes", "text", "points", "rle")
    ]
    assert report.skipped[0][1] == "region none: x is None"
    assert [(row["kind"], row["label"]) for row in rows_of(out)] == [("rating", "4"), ("rectanglelabels", "ant")]


def test_offsets_are_code_points_also_of_old_data_and_lost_ones_are_skipped(tmp_path: Path) -> None:
    text = "\U0001f600 Ada"
    old = span(text, 2, 5, "zebra") | {"id": "old"}
    old["value"] = old["value"] | {"start": 3, "end": 6}
    lost = span(text, 2, 5, "zebra") | {"id": "lost"}
    lost["value"] = lost["value"] | {"text": "Bob"}
    out, report = exported(tmp_path, "csv", [task(1, {"text": text}, [old, lost])], TEXTS)
    assert [(row["start"], row["end"], row["text"]) for row in rows_of(out)] == [("2", "5", "Ada")]
    assert [reason[:30] for _, reason in report.skipped] == ["region lost: offset_mismatch: "]
    notes = json.loads((out / "manifest.json").read_text())["offset_notes"]
    assert (notes["utf16"], notes["refused"]) == (1, 1)


def test_what_has_no_class_is_a_row_too(tmp_path: Path) -> None:
    said = [
        region("textarea", "words", "text", {"text": ["one", "two"]}),
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        region("number", "count", "text", {"number": 3}),
    ]
    out, report = exported(tmp_path, "csv", [task(1, {"text": "t"}, said)], TEXTS)
    assert (report.objects, report.n_skipped) == (3, 0)
    rows = rows_of(out)
    assert [(row["kind"], row["label"], row["text"]) for row in rows] == [
        ("textarea", "", "one\ntwo"), ("relation", "", ""), ("number", "3", ""),
    ]  # fmt: skip
    assert json.loads(rows[1]["rest"]) == {"value": None, "from_id": "a", "to_id": "b", "direction": "right"}


def test_images_are_copied_and_named_in_a_column(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "here" / "a.png")
    tasks = [task(1, {"image": "/d/a.png"}, [box(1, 2, 3, 4)]), task(2, {"image": "/d/gone.png"}, [])]
    out, report = exported(tmp_path, "csv", tasks, BOXES, images=tmp_path / "here")
    assert [row["file"] for row in rows_of(out)] == ["images/train/d/a.png", ""]
    assert (out / "images/train/d/a.png").is_file()
    assert [task_id for task_id, _ in report.skipped] == [2]
    _, items = read(out, "csv")
    assert [item.media for item in items] == [out / "images/train/d/a.png", None]
