"""Labels of every format come into a project beside their items: the same regions on the same images and texts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from ingest_site import BOXES, TEXTS, Site, ingest_site, picture

from labelloop.store import Store
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.media import folder_fetch
from sync.formats.sources import open_export
from sync.ingesting import LabelOptions

pytestmark = pytest.mark.integration

IMAGES = 5
SENTENCES = (
    ("Ada met Bo in Rome", [(0, 3, "PER"), (8, 10, "PER"), (14, 18, "LOC")]),
    ("Nobody was there at all", []),
    ("\U0001f600 Cem left early", [(2, 5, "PER")]),
)


@pytest.fixture
def boxes(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, BOXES) as made:
        yield made


@pytest.fixture
def notes(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, TEXTS) as made:
        yield made


def exported(site: Site, config: str, tasks: list[dict[str, Any]], format: str, task: str | None, copy: bool) -> Path:
    """Labels as another tool would bring them: written in a format."""
    (site.folder / "export.json").write_text(json.dumps(tasks))
    (site.folder / "config.xml").write_text(config)
    source = open_export(site.folder / "export.json", site.folder / "config.xml", "latest")
    options = ExportOptions(task=task, train_share=0.6, images=copy)
    fetch = folder_fetch(site.folder / "pics") if copy else None
    export_dataset(source, format, site.folder / "labels", options=options, fetch=fetch)
    return site.folder / "labels"


def task(number: int, data: dict[str, str], regions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": number, "data": data, "annotations": [{"id": number, "completed_by": 1, "result": regions}]}


def boxed_tasks(site: Site) -> list[dict[str, Any]]:
    """Images with none to two boxes."""
    tasks = []
    for n in range(IMAGES):
        picture(site.folder / "pics" / f"i{n}.png", n, (200, 100))
        regions = [
            {"id": f"r{k}", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
             "original_width": 200, "original_height": 100, "image_rotation": 0,
             "value": {"x": 10 + 20 * k, "y": 5 * n, "width": 10, "height": 20, "rotation": 0,
                       "rectanglelabels": [("circle", "square")[k]]}}
            for k in range(n % 3)
        ]  # fmt: skip
        tasks.append(task(n + 1, {"image": f"/data/local-files/?d=i{n}.png"}, regions))
    return tasks


def marked(site: Site) -> dict[str, list[Any]]:
    """What Label Studio has, by the end of an image's name, or the text."""
    found: dict[str, list[Any]] = {}
    for row in site.remote.annotations:
        data = site.remote.tasks[row["task"]]["data"]
        name = data["text"] if "text" in data else data["image"].rpartition("/")[2].partition("-")[0]
        marks = found.setdefault(name, [])
        for region in row["result"]:
            value = region["value"]
            places = [round(value[key], 3) for key in ("x", "y", "start", "end") if key in value]
            marks.append((value[region["type"]][0], *places))
    return {name: sorted(marks) for name, marks in found.items()}


OF_BOXES = {f"i{n}": [(("circle", "square")[k], 10 + 20 * k, 5 * n) for k in range(n % 3)] for n in range(IMAGES)}
OF_SENTENCES = {text: sorted((label, start, end) for start, end, label in spans) for text, spans in SENTENCES}


@pytest.mark.parametrize("format", ["coco", "voc", "yolo", "huggingface", "csv", "jsonl", "parquet", "label_studio"])
def test_boxes_of_each_format_come_in_with_their_images(boxes: Site, format: str) -> None:
    tasks = boxed_tasks(boxes)
    copied = format in ("yolo", "voc", "coco", "huggingface")
    path = exported(boxes, BOXES, tasks, format, None, copied)
    labels = LabelOptions(path, format, images=boxes.folder / "pics", kind="annotations", name=format)
    report = boxes.ingest(None, labels=labels)
    assert (report.added, report.rejected) == (IMAGES, {})
    assert marked(boxes) == OF_BOXES
    marks = [each["meta"]["labelloop"] for each in boxes.remote.tasks.values()]
    assert {(mark["width"], mark["height"]) for mark in marks} == {(200, 100)}
    boxes.agree()
    again = boxes.ingest(None, labels=labels)
    assert (again.added, again.present, len(boxes.remote.annotations)) == (0, IMAGES, IMAGES)


@pytest.mark.parametrize("format", ["coco", "yolo", "csv", "label_studio"])
def test_boxes_of_a_format_join_a_folder_of_images(boxes: Site, format: str) -> None:
    path = exported(boxes, BOXES, boxed_tasks(boxes), format, None, format == "yolo")
    labels = LabelOptions(path, format, images=boxes.folder / "pics", kind="annotations")
    report = boxes.ingest(boxes.folder / "pics", labels=labels)
    assert (report.added, report.rejected) == (IMAGES, {})
    assert marked(boxes) == OF_BOXES


@pytest.mark.parametrize("format", ["conll", "spacy", "huggingface", "csv", "jsonl", "parquet", "label_studio"])
def test_entities_of_each_format_come_in_with_their_texts(notes: Site, format: str) -> None:
    tasks = [
        task(n, {"text": text}, [
            {"id": f"r{start}", "from_name": "label", "to_name": "text", "type": "labels",
             "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]}}
            for start, end, label in spans
        ])
        for n, (text, spans) in enumerate(SENTENCES, 1)
    ]  # fmt: skip
    path = exported(notes, TEXTS, tasks, format, "ner" if format in ("spacy", "huggingface") else None, False)
    labels = LabelOptions(path, format, kind="annotations", name=format)
    report = notes.ingest(None, labels=labels)
    assert (report.added, report.rejected) == (len(SENTENCES), {})
    assert marked(notes) == OF_SENTENCES
    again = notes.ingest(None, labels=labels)
    assert (again.added, len(notes.remote.annotations)) == (0, len(SENTENCES))
