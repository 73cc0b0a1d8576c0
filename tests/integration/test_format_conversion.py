"""`labelloop convert`: any format that can be read, as any that can hold it; splits, sizes and rejects come along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from PIL import Image
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.errors import DataError, UsageError
from labelloop.label_config import parse_label_config
from sync.formats.converting import converted
from sync.formats.examples import ExportOptions, media_path
from sync.formats.exporting import export_dataset
from sync.formats.reading import WantedControl, config_for, read_labelled, region_for
from sync.formats.sources import open_export

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/convert.schema.json").read_text())
IMAGES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="zebra"/><Label value="a &amp; b"/></RectangleLabels></View>'
)
TEXTS = (
    '<View><Text name="text" value="$text"/><Labels name="span" toName="text">'
    '<Label value="PER"/><Label value="ORG"/></Labels></View>'
)
pytestmark = pytest.mark.integration

#: Formats that hold boxes, and those that hold entities; each is written and read by each other.
OF_IMAGES = ("coco", "voc", "yolo", "csv", "jsonl", "parquet", "huggingface", "label_studio")
OF_TEXTS = ("conll", "spacy", "csv", "jsonl", "parquet", "huggingface", "label_studio")


def images(folder: Path) -> Path:
    """Six images with up to three boxes, one of them a negative; their files lie in pictures/."""
    tasks = []
    for number in range(1, 7):
        Image.new("RGB", (200, 100)).save(_made(folder / "pictures") / f"i{number}.png")
        regions = [
            {
                "id": f"r{index}", "from_name": "box", "to_name": "image", "type": "rectanglelabels",
                "original_width": 200, "original_height": 100, "image_rotation": 0,
                "value": {"x": 10 + 20 * index, "y": 5 * number, "width": 10, "height": 20, "rotation": 0,
                          "rectanglelabels": [("zebra", "a & b")[index % 2]]},
            }
            for index in range(number % 4)
        ]  # fmt: skip
        data = {"image": f"/data/local-files/?d=i{number}.png"}
        tasks.append(
            {"id": number, "data": data, "annotations": [{"id": number, "completed_by": 1, "result": regions}]}
        )
    return written(folder, tasks, IMAGES)


def texts(folder: Path) -> Path:
    """Four texts, one without entities."""
    found = [
        ("Ada met Bo at Acme", [(0, 3, "PER"), (8, 10, "PER"), (14, 18, "ORG")]),
        ("Nobody was there", []),
        ("\U0001f600 Cem left", [(2, 5, "PER")]),
        ("Dora and Eve", [(0, 4, "PER"), (9, 12, "PER")]),
    ]
    tasks = []
    for number, (text, spans) in enumerate(found, start=1):
        regions = [
            {"id": f"r{start}", "from_name": "span", "to_name": "text", "type": "labels",
             "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]}}
            for start, end, label in spans
        ]  # fmt: skip
        data = {"text": text}
        tasks.append(
            {"id": number, "data": data, "annotations": [{"id": number, "completed_by": 1, "result": regions}]}
        )
    return written(folder, tasks, TEXTS)


def written(folder: Path, tasks: list[dict[str, Any]], config: str) -> Path:
    (folder / "export.json").write_bytes(orjson.dumps(tasks))
    (folder / "config.xml").write_text(config)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def first_export(folder: Path, format: str, task: str | None) -> Path:
    from sync.formats.media import folder_fetch

    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    copied = (folder / "pictures").is_dir()
    options = ExportOptions(task=task, train_share=0.6, images=copied)
    fetch = folder_fetch(folder / "pictures") if copied else None
    export_dataset(source, format, folder / f"first-{format}", options=options, fetch=fetch)
    return folder / f"first-{format}"


def said_of(path: Path, format: str, task: str | None, config: str, images: Path | None = None) -> list[Any]:
    """Per item: what it is and what is marked in it, in a form that formats share."""
    found = []
    labelled = read_labelled(path, format, task=task, config=parse_label_config(config), images=images)
    for item in labelled:
        name = Path(media_path(str(item.data.get("image") or item.media or ""))).name or item.data["text"]
        marks = []
        for region in item.result:
            value = region["value"]
            label = value[region["type"]][0]
            places = [value[key] for key in ("start", "end") if key in value]
            places += [round(value[key], 4) for key in ("x", "y", "width", "height") if key in value]
            marks.append((label, *places))
        found.append((name, item.split, sorted(marks)))
    assert labelled.rejected == []
    return sorted(found)


def convert(source: Path, target: Path, *more: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["convert", str(source), str(target), *more, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    report: dict[str, Any] = json.loads(result.stdout)
    jsonschema.validate(report, SCHEMA)
    return report


@pytest.mark.parametrize("second", OF_IMAGES)
@pytest.mark.parametrize("first", OF_IMAGES)
def test_boxes_go_from_each_format_into_each_other(first: str, second: str, tmp_path: Path) -> None:
    images(tmp_path)
    start = first_export(tmp_path, first, None)
    more = ["--config", str(tmp_path / "config.xml"), "--images", "--images-from", str(tmp_path / "pictures")]
    report = convert(start, tmp_path / "second", "--from", first, "--to", second, *more)
    assert report["read"]["items"] == report["items"] == 6 and report["objects"] == 9
    pictures = tmp_path / "pictures"
    before, after = (
        said_of(path, name, None, IMAGES, pictures) for path, name in ((start, first), (tmp_path / "second", second))
    )
    assert after == before and [len(marks) for _, _, marks in after] == [1, 2, 3, 0, 1, 2]


@pytest.mark.parametrize("second", OF_TEXTS)
@pytest.mark.parametrize("first", OF_TEXTS)
def test_entities_go_from_each_format_into_each_other(first: str, second: str, tmp_path: Path) -> None:
    texts(tmp_path)
    start = first_export(tmp_path, first, None)
    more = ["--config", str(tmp_path / "config.xml")]
    report = convert(start, tmp_path / "second", "--from", first, "--to", second, *more)
    assert report["read"]["items"] == report["items"] == 4 and report["objects"] == 6
    before, after = said_of(start, first, None, TEXTS), said_of(tmp_path / "second", second, None, TEXTS)
    assert after == before and sorted(len(marks) for _, _, marks in after) == [0, 1, 2, 3]


def test_a_split_comes_along_or_is_made_anew(tmp_path: Path) -> None:
    images(tmp_path)
    start = first_export(tmp_path, "coco", None)
    kept = convert(start, tmp_path / "kept", "--from", "coco", "--to", "jsonl")
    counts = {
        split: len(json.loads(file.read_text())["images"])
        for split in ("train", "val")
        if (file := start / "annotations" / f"instances_{split}.json").exists()
    }
    assert kept["splits"] == counts and len(counts) == 2
    anew = convert(start, tmp_path / "anew", "--from", "coco", "--to", "jsonl", "--split", "1.0")
    assert anew["splits"] == {"train": 6}


def test_what_cannot_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        converted(tmp_path / "empty", "coco", tmp_path)
    with pytest.raises(UsageError, match="expected one of"):
        converted(tmp_path / "empty", "tiff", tmp_path)


def test_a_config_for_found_classes_escapes_them() -> None:
    config = config_for("Image", "image", [WantedControl("RectangleLabels", "label", ['<a> & "b"', "c"])])
    (control,) = config.controls
    assert control.classes == ('<a> & "b"', "c") and control.to_name == "image"
    region = region_for(control, 1, {"x": 1, "y": 1, "width": 2, "height": 2, "rotation": 0}, ["c"], (10, 10))
    assert config.problem_with(region) is None
