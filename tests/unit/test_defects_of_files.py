"""D12 to D20: what the usual converter of Label Studio's exports gets wrong in files and failures, right in every format."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import orjson
import polars as pl
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.masks import brush_of_pixels, pixels_of_brush
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.media import folder_fetch
from sync.formats.sources import open_export

sys.path.insert(0, str(Path(__file__).parent))
from defect_exports import (
    BOXES,
    BRUSHES,
    POSES,
    SPANS,
    annotation,
    box,
    brush,
    coco,
    conll,
    csv_rows,
    export,
    image_task,
    point,
    text_task,
    two_people,
    voc,
)


def test_d12_conll_marks_what_was_marked(tmp_path: Path) -> None:
    text = "New York-based Ada met \u6771\u4eac\u592a\u90ce."
    tokens, report = conll(
        tmp_path, [text_task(1, text, (0, 8, "ORG"), (15, 18, "PER"), (23, 25, "ORG"), (4, 8, "PER"))]
    )
    marked = [(token, tag) for token, tag in tokens if tag != "O"]
    assert marked == [("New", "B-ORG"), ("York", "I-ORG"), ("Ada", "B-PER"), ("\u6771", "B-ORG"), ("\u4eac", "I-ORG")]
    assert any(reason.startswith("region s4-8") for _, reason in report.skipped)
    assert "".join(token for token, _ in tokens) == text.replace(" ", "")


SEEDED = """
import sys
from pathlib import Path
from sync.formats.exporting import export_dataset
from sync.formats.sources import open_export
source = open_export(Path(sys.argv[1]), Path(sys.argv[2]), "latest")
export_dataset(source, "coco", Path(sys.argv[3]))
export_dataset(source, "csv", Path(sys.argv[4]))
"""


def test_d13_the_same_input_gives_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    data = {"thumbnail": "/d/thumb.png", "image": "/d/real.png", "caption": "x"}
    (tmp_path / "export.json").write_bytes(
        orjson.dumps([image_task(1, annotation(1, [box(0, 0, 9, 9)])) | {"data": data}])
    )
    (tmp_path / "config.xml").write_text(BOXES)
    found = []
    for seed in ("0", "1", "42"):
        outs = [tmp_path / f"{format}-{seed}" for format in ("coco", "csv")]
        command = [sys.executable, "-c", SEEDED, tmp_path / "export.json", tmp_path / "config.xml", *outs]
        root = Path(__file__).parents[2]
        subprocess.run(
            [str(part) for part in command], check=True, cwd=root, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        found.append(
            {
                f"{out.name[:4]}/{p.relative_to(out)}": p.read_bytes()
                for out in outs
                for p in out.rglob("*")
                if p.is_file()
            }
        )
    assert found[0] == found[1] == found[2]
    (coco_file,) = [content for name, content in found[0].items() if "instances" in name]
    assert json.loads(coco_file)["images"][0]["file_name"].endswith("real.png")


@pytest.mark.parametrize("format", ["coco", "yolo", "voc", "csv", "jsonl", "parquet", "label_studio", "huggingface"])
def test_d14_missing_fields_crash_nothing(format: str, tmp_path: Path) -> None:
    broken = [
        box(1, 1, 1, 1)
        | {"id": "none", "value": {"x": None, "y": 1, "width": 2, "height": 2, "rectanglelabels": ["ant"]}},
        box(2, 1, 1, 1)
        | {"id": "text", "value": {"x": "a", "y": 1, "width": 2, "height": 2, "rectanglelabels": ["ant"]}},
        box(3, 1, 1, 1) | {"id": "gone", "value": {"rectanglelabels": ["ant"]}},
        box(4, 1, 1, 1) | {"id": "no value", "value": None},
        {"id": "bare"},
    ]
    tasks: list[dict[str, Any]] = [
        image_task(
            1, annotation(1, [box(50, 50, 10, 10), *broken]), annotation(2, [box(50, 50, 10, 10), *broken], None)
        ),
        {key: value for key, value in image_task(2, annotation(3, [box(10, 10, 10, 10)], None)).items() if key != "id"},
        image_task(3, {"result": [box(10, 10, 10, 10)], "completed_by": {"email": "a@example.com"}}),
    ]
    _, report = export(tmp_path, format, tasks, task="detect" if format == "yolo" else None)
    assert report.items == 3
    assert report.objects >= 3
    if format in ("coco", "yolo", "voc"):
        named = " ".join(reason for _, reason in report.skipped)
        assert report.objects == 3 and all(
            f"region {each}" in named for each in ("none", "text", "gone", "no value", "bare")
        )


def test_a_number_beyond_all_floats_costs_its_region_only(tmp_path: Path) -> None:
    export(tmp_path, "coco", [image_task(1, annotation(1, [box(0, 0, 9, 9), box(50, 0, 9, 9)]))])
    content = (tmp_path / "export.json").read_bytes().replace(b'"x":50', b'"x":1e999')
    (tmp_path / "export.json").write_bytes(content)
    source = open_export(tmp_path / "export.json", tmp_path / "config.xml", "latest")
    report = export_dataset(source, "coco", tmp_path / "out")
    assert (report.items, report.objects, report.n_skipped) == (1, 1, 1)


def test_d15_the_command_line_does_what_it_is_told_or_says_why_not(tmp_path: Path) -> None:
    export(tmp_path, "coco", [image_task(1, annotation(1, [box(0, 0, 9, 9)]))])
    given = ["export", "--file", str(tmp_path / "export.json"), "--config", str(tmp_path / "config.xml")]
    unknown = CliRunner().invoke(app, [*given, "--format", "JSON", "--out", str(tmp_path / "none")])
    assert unknown.exit_code != 0 and not (tmp_path / "none").exists()
    assert "expected one of" in f"{unknown.exception}{unknown.output}"
    without = CliRunner().invoke(app, [*given, "--format", "coco", "--images", "--out", str(tmp_path / "none")])
    assert without.exit_code != 0 and "--images-from" in f"{without.exception}{without.output}"
    Image.new("RGB", (200, 100)).save(tmp_path / "i1.png")
    more = ["--images", "--images-from", str(tmp_path), "--out", str(tmp_path / "out"), "--split", "1"]
    done = CliRunner().invoke(app, [*given, "--format", "coco", *more])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "images" / "train" / "i1.png").is_file()


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", 'a,b\r\n"c"', "plain"])
def test_d16_a_cell_is_no_formula_and_breaks_no_row(text: str, tmp_path: Path) -> None:
    rows = csv_rows(tmp_path, [text_task(1, text + " Ada", (len(text) + 1, len(text) + 4, "PER"))], SPANS)
    assert len(rows) == 1
    assert not any(
        cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in rows[0].values() if not _is_number(cell)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_d17_voc_counts_from_one_clips_and_tells_the_truth(tmp_path: Path) -> None:
    tasks = [image_task(1, annotation(1, [box(-10, 95, 30, 10), box(10.26, 10.3, 5.1, 5.1), box(95, -3, 20, 20)]))]
    assert voc(tmp_path, tasks)["i1.xml"] == [
        ("ant", [1, 96, 40, 100]),
        ("ant", [21, 11, 31, 16]),
        ("ant", [191, 1, 200, 17]),
    ]
    written = (tmp_path / "voc-None/Annotations/i1.xml").read_text()
    assert "MyDatabase" not in written and "COCO2017" not in written and "flickr" not in written
    root = ElementTree.fromstring(written)  # noqa: S314
    assert [each.findtext("truncated") for each in root.iter("object")] == ["1", "0", "1"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_d18_a_noisy_mask_of_full_size_is_decoded_as_it_was(tmp_path: Path) -> None:
    noisy = np.random.default_rng(1).random((1080, 1920)) < 0.5
    code = brush_of_pixels(noisy)
    assert (pixels_of_brush(code, 1920, 1080) == noisy).all()
    region = brush(code) | {"original_width": 1920, "original_height": 1080}
    (only,) = coco(tmp_path, [image_task(1, annotation(1, [region]))], BRUSHES)["annotations"]
    assert only["area"] == noisy.sum() == coco_mask.area(only["segmentation"])


def test_d19_each_object_knows_its_own_annotator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_FORCE_ANNOTATOR_EXPORT", "1")
    lone = [point(10, 10, "nose", "p1"), box(5, 5, 30, 60, "person", id="p1")]
    tasks = [
        image_task(1, annotation(11, two_people())),
        image_task(2, annotation(22, [])),
        image_task(3, annotation(33, lone)),
    ]
    export(tmp_path, "coco", tasks, POSES, "pose")
    rows = pl.read_parquet(tmp_path / "coco-pose" / "provenance.parquet")
    assert rows.select("task_id", "annotator").unique().sort("task_id").rows() == [(1, 11), (3, 33)]


def test_d20_an_image_that_cannot_be_had_is_named_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = {"image": "/data/local-files/?d=missing.png", "patient": "name in the data"}
    tasks = [
        image_task(1, annotation(1, [box(0, 0, 9, 9)])) | {"data": secret},
        image_task(2, annotation(2, [box(0, 0, 9, 9)])),
    ]
    Image.new("RGB", (200, 100)).save(tmp_path / "i2.png")
    with caplog.at_level(logging.DEBUG):
        (tmp_path / "export.json").write_bytes(orjson.dumps(tasks))
        (tmp_path / "config.xml").write_text(BOXES)
        source = open_export(tmp_path / "export.json", tmp_path / "config.xml", "latest")
        options = ExportOptions(train_share=1.0, images=True)
        report = export_dataset(source, "coco", tmp_path / "out", options=options, fetch=folder_fetch(tmp_path))
    assert report.items == 2 and (tmp_path / "out/images/train/i2.png").is_file()
    ((task_id, reason),) = report.skipped
    assert task_id == 1 and "missing.png" in reason and "\n" not in reason and len(reason) < 300
    assert "name in the data" not in caplog.text + reason
