"""COCO and CSV files: read by pycocotools and the csv module, and right where the usual converters are wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from labelloop.datasets import Dataset
from labelloop.errors import DataError, UsageError
from sync.formats import EXPORTERS, ExportReport, Written, export_dataset
from sync.formats.csv_table import escaped
from sync.formats.report import whole_folder
from sync.formats.truth import dataset_from_export

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/export.schema.json").read_text())
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="zebra"/><Label value="ant"/></RectangleLabels>'
    '<Choices name="quality" toName="image"><Choice value="blurry"/></Choices></View>'
)


def box(x: float, y: float, w: float, h: float, label: Any = "ant", rotation: float = 0, **over: Any) -> dict[str, Any]:
    labels = label if isinstance(label, list) else [label]
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation, "rectanglelabels": labels}
    return {
        "id": f"r{x}", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value,
        "original_width": 200, "original_height": 100, "origin": "manual",
    } | over  # fmt: skip


def dataset_of(folder: Path, *results: list[dict[str, Any]] | None, images: list[str] | None = None) -> Dataset:
    tasks = []
    for number, result in enumerate(results, start=1):
        image = images[number - 1] if images else f"/data/upload/1/i{number}.png"
        annotation = {"id": number * 10, "completed_by": 1, "result": result, "updated_at": "2026-01-01T00:00:00Z"}
        found = [] if result is None else [annotation]
        tasks.append({"id": number, "data": {"image": image}, "annotations": found})
    (folder / "export.json").write_bytes(orjson.dumps(tasks))
    (folder / "config.xml").write_text(CONFIG)
    return dataset_from_export(folder / "export.json", folder / "config.xml", folder / "dataset")


def coco_of(dataset: Dataset, out: Path, **options: Any) -> tuple[dict[str, Any], ExportReport]:
    report = export_dataset(dataset, "coco", out, **options)
    jsonschema.validate(report.to_json(), SCHEMA)
    return json.loads((out / "annotations.json").read_text()), report


def test_coco_ids_start_at_one_and_categories_follow_the_config(tmp_path: Path) -> None:
    found, report = coco_of(dataset_of(tmp_path, [box(0, 0, 10, 10), box(50, 0, 10, 10, "zebra")]), tmp_path / "out")
    assert [(c["id"], c["name"]) for c in found["categories"]] == [(1, "zebra"), (2, "ant")]
    assert [(a["id"], a["category_id"]) for a in found["annotations"]] == [(1, 2), (2, 1)]
    assert (report.items, report.objects) == (1, 2)


def test_coco_scores_perfectly_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = [[box(x, x / 2, 12.5, 30, ["ant", "zebra"][i % 2]) for x in (1, 33.3, 70)] for i in range(4)]
    coco_of(dataset_of(tmp_path, *results), tmp_path / "out")
    truth = COCO(str(tmp_path / "out" / "annotations.json"))
    found = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9}
        for a in truth.dataset["annotations"]
    ]
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0
    assert "Average Precision" in capsys.readouterr().out


def test_coco_turns_boxes_in_pixels(tmp_path: Path) -> None:
    found, _ = coco_of(dataset_of(tmp_path, [box(50, 50, 20, 20, rotation=90)]), tmp_path / "out")
    only = found["annotations"][0]
    assert only["bbox"] == pytest.approx([80, 50, 20, 40])
    assert only["area"] == pytest.approx(800)
    assert only["labelloop"]["rotation"] == 90


def test_coco_clips_to_the_image_and_keeps_floats(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [box(-10, 95, 30, 10), box(0.123, 0, 10.01, 10), box(120, 0, 10, 10)])
    found, report = coco_of(dataset, tmp_path / "out")
    assert found["annotations"][0]["bbox"] == pytest.approx([0, 95, 40, 5])
    assert found["annotations"][1]["bbox"] == pytest.approx([0.246, 0, 20.02, 10])
    assert len(found["annotations"]) == 2
    assert report.skipped == ((1, "region r120: nothing of it is on the image"),)


def test_coco_keeps_negatives_and_leaves_out_what_nobody_labelled(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [box(0, 0, 10, 10)], [], None)
    found, report = coco_of(dataset, tmp_path / "sized", sizes={2: (64, 48)})
    assert [(i["id"], i["width"], i["height"]) for i in found["images"]] == [(1, 200, 100), (2, 64, 48)]
    assert report.items == 2
    unknown, report = coco_of(dataset, tmp_path / "unsized")
    assert [i["id"] for i in unknown["images"]] == [1]
    assert report.skipped[0][0] == 2


def test_coco_reads_the_size_of_a_negative_from_its_media(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [])
    (dataset.path / "media").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(dataset.path / "media" / "1-0.jpg", exif=exif)
    found, _ = coco_of(dataset, tmp_path / "out")
    assert (found["images"][0]["width"], found["images"][0]["height"]) == (30, 40)


def test_coco_file_names_are_unique(tmp_path: Path) -> None:
    images = ["/d/one/a.png", "/d/two/a.png", "/d/b.png", "/d/c.png", "/d/c.png"]
    found, _ = coco_of(dataset_of(tmp_path, *[[box(0, 0, 9, 9)]] * 5, images=images), tmp_path / "out")
    names = [image["file_name"] for image in found["images"]]
    assert names == ["d/one/a.png", "d/two/a.png", "b.png", "4/c.png", "5/c.png"]


def test_coco_names_what_it_leaves_out(tmp_path: Path) -> None:
    choice = {
        "id": "c",
        "from_name": "quality",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["blurry"]},
    }
    broken = box(1, 0, 10, 10) | {"id": "n", "value": {"x": None, "rectanglelabels": ["ant"]}}
    ghost = box(30, 0, 10, 10, "ghost")
    two = box(60, 0, 10, 10, ["ant", "zebra"])
    found, report = coco_of(dataset_of(tmp_path, [two, choice, broken, ghost]), tmp_path / "out")
    assert [a["category_id"] for a in found["annotations"]] == [2, 1]
    reasons = [reason for _, reason in report.skipped]
    assert [reason.split(":")[0] for reason in reasons] == ["region c", "region n", "region r30"]


def test_csv_reads_back_with_provenance(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [box(0, 0, 10, 10), box(20, 0, 5, 5, origin="prediction-changed")], [])
    report = export_dataset(dataset, "csv", tmp_path / "out")
    raw = (tmp_path / "out" / "labels.csv").read_bytes()
    assert b"\r\n" in raw
    assert b"\n\n" not in raw
    with (tmp_path / "out" / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (report.items, report.objects, len(rows)) == (2, 2, 3)
    assert [row["label"] for row in rows] == ["ant", "ant", ""]
    assert [row["source"] for row in rows[:2]] == ["manual", "prediction-changed"]
    assert len({row["rev_hash"] for row in rows}) == 2
    assert rows[0]["annotator"] == "1"
    assert json.loads(rows[0]["data"]) == {"image": "/data/upload/1/i1.png"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_formula_cells_are_escaped(text: str) -> None:
    assert escaped(text) == "'" + text
    assert escaped(-1.5) == -1.5
    assert escaped("plain = text") == "plain = text"


def test_the_manifest_says_what_was_written(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [box(0, 0, 10, 10)])
    report = export_dataset(dataset, "coco", tmp_path / "out")
    manifest = json.loads(report.manifest.read_text())
    assert (manifest["items"], manifest["objects"], manifest["dataset_id"]) == (1, 1, dataset.dataset_id)
    assert manifest["config_hash"] == dataset.manifest["body"]["config_hash"]
    assert manifest["declared_losses"] == list(report.declared_losses)


def test_an_earlier_export_is_replaced_and_foreign_files_are_not(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [box(0, 0, 10, 10)])
    export_dataset(dataset, "coco", tmp_path / "out")
    export_dataset(dataset, "csv", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["labels.csv", "manifest.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="no export wrote"):
        export_dataset(dataset, "csv", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_count_that_does_not_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(tmp_path, [box(0, 0, 10, 10)])
    real = EXPORTERS["csv"]
    wrong = type(real)(lambda *_: Written(1, 1, (), (), (), {}), lambda _: (1, 0))
    monkeypatch.setattr("sync.formats.EXPORTERS", {"csv": wrong})
    with pytest.raises(DataError, match="read back 1 with 0"):
        export_dataset(dataset, "csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_formats_and_tasks_are_refused(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [box(0, 0, 10, 10)])
    with pytest.raises(UsageError, match="expected one of"):
        export_dataset(dataset, "yaml", tmp_path / "out")
    with pytest.raises(UsageError, match="has the tasks"):
        export_dataset(dataset, "coco", tmp_path / "out", task="ner")
    with pytest.raises(DataError, match="spaCy needs"):
        export_dataset(dataset, "spacy", tmp_path / "out")


def test_coco_keeps_polygons_and_clips_them(tmp_path: Path) -> None:
    dataset_of(tmp_path, [])
    config = CONFIG.replace("RectangleLabels", "PolygonLabels")
    points = [[0, 0], [50, 0], [50, 50], [25, 25], [-25, 50]]
    region = box(0, 0, 1, 1) | {"type": "polygonlabels", "value": {"points": points, "polygonlabels": ["zebra"]}}
    tasks = json.loads((tmp_path / "export.json").read_text())
    tasks[0]["annotations"][0]["result"] = [region]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    (tmp_path / "config.xml").write_text(config)
    dataset = dataset_from_export(tmp_path / "export.json", tmp_path / "config.xml", tmp_path / "polygons")
    found, _ = coco_of(dataset, tmp_path / "out")
    only = found["annotations"][0]
    assert only["bbox"] == pytest.approx([0, 0, 100, 50])
    # On the image stays what is above (0, 37.5) - (50, 25) - (100, 50): 50 * 31.25 + 50 * 37.5 square pixels.
    assert only["area"] == pytest.approx(3437.5)
