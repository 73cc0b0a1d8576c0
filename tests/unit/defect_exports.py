"""Exports for the tests of D1 to D20, written in every format, and what the files then say in numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson

from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.report import ExportReport
from sync.formats.sources import open_export

BOXES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="zebra" category="5"/><Label value="ant" category="2"/></RectangleLabels>'
    '<Choices name="quality" toName="image"><Choice value="blurry"/></Choices></View>'
)
SPANS = (
    '<View><Text name="text" value="$text"/><Labels name="span" toName="text">'
    '<Label value="PER"/><Label value="ORG"/></Labels></View>'
)
AT = "2026-01-01T00:00:00Z"


def box(x: float, y: float, w: float, h: float, label: Any = "ant", rotation: float = 0, **over: Any) -> dict[str, Any]:
    labels = label if isinstance(label, list) else [label]
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation, "rectanglelabels": labels}
    return {
        "id": f"r{x}", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value,
        "original_width": 200, "original_height": 100,
    } | over  # fmt: skip


def span(start: int, end: int, label: str, text: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
    return {"id": f"s{start}-{end}", "from_name": "span", "to_name": "text", "type": "labels", "value": value}


def annotation(number: int, result: Sequence[dict[str, Any]], at: str | None = AT, **over: Any) -> dict[str, Any]:
    return {"id": number, "completed_by": number, "result": list(result), "created_at": at, "updated_at": at} | over


def image_task(number: int, *annotations: dict[str, Any], image: str | None = None, **over: Any) -> dict[str, Any]:
    sized = {"labelloop": {"width": 200, "height": 100}}
    data = {"image": image or f"/data/local-files/?d=i{number}.png"}
    return {"id": number, "data": data, "meta": sized, "annotations": list(annotations)} | over


def text_task(number: int, text: str, *spans: tuple[int, int, str]) -> dict[str, Any]:
    found = [span(start, end, label, text) for start, end, label in spans]
    return {"id": number, "data": {"text": text}, "annotations": [annotation(number, found)]}


def export(
    folder: Path,
    format: str,
    tasks: Sequence[dict[str, Any]],
    config: str = BOXES,
    task: str | None = None,
    **more: Any,
) -> tuple[Path, ExportReport]:
    """Everything in the split train."""
    (folder / "export.json").write_bytes(orjson.dumps(list(tasks)))
    (folder / "config.xml").write_text(config)
    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    out = folder / f"{format}-{task}"
    options = ExportOptions(task=task, train_share=1.0)
    return out, export_dataset(source, format, out, options=options, **more)


def coco(folder: Path, tasks: Sequence[dict[str, Any]], config: str = BOXES, **more: Any) -> dict[str, Any]:
    out, _ = export(folder, "coco", tasks, config, **more)
    content: dict[str, Any] = json.loads((out / "annotations" / "instances_train.json").read_text())
    return content


def yolo(
    folder: Path, tasks: Sequence[dict[str, Any]], config: str = BOXES, task: str = "detect"
) -> dict[str, list[list[float]]]:
    """Rows of numbers by label file."""
    out, _ = export(folder, "yolo", tasks, config, task)
    labels = out / "labels" / "train"
    return {
        file.relative_to(labels).as_posix(): [
            [float(n) for n in line.split()] for line in file.read_text().splitlines()
        ]
        for file in sorted(labels.rglob("*.txt"))
    }


def voc(folder: Path, tasks: Sequence[dict[str, Any]], config: str = BOXES) -> dict[str, list[tuple[str, list[int]]]]:
    """(class, [xmin, ymin, xmax, ymax]) by file."""
    out, _ = export(folder, "voc", tasks, config)
    found = {}
    for file in sorted((out / "Annotations").rglob("*.xml")):
        root = ElementTree.fromstring(file.read_text())  # noqa: S314
        objects = [
            (
                str(each.findtext("name")),
                [int(str(each.findtext(f"bndbox/{side}"))) for side in ("xmin", "ymin", "xmax", "ymax")],
            )
            for each in root.iter("object")
        ]
        found[file.relative_to(out / "Annotations").as_posix()] = objects
    return found


def conll(folder: Path, tasks: Sequence[dict[str, Any]]) -> tuple[list[tuple[str, str]], ExportReport]:
    """(token, tag) of every line."""
    out, report = export(folder, "conll", tasks, SPANS)
    lines = [line.split() for line in (out / "train.conll").read_text(encoding="utf-8").splitlines()]
    return [(line[0], line[-1]) for line in lines if line and line[0] != "-DOCSTART-"], report


def csv_rows(folder: Path, tasks: Sequence[dict[str, Any]], config: str = BOXES) -> list[dict[str, str]]:
    out, _ = export(folder, "csv", tasks, config)
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_pixels(row: list[float]) -> list[float]:
    """[x, y, w, h] of a YOLO row on a 200 x 100 image."""
    _, x, y, w, h = row
    return [(x - w / 2) * 200, (y - h / 2) * 100, w * 200, h * 100]


def brush(rle: list[int], label: str = "blob", identity: str = "b") -> dict[str, Any]:
    return {
        "id": identity, "from_name": "brush", "to_name": "image", "type": "brushlabels", "original_width": 60,
        "original_height": 40, "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
    }  # fmt: skip


BRUSHES = (
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">'
    '<Label value="blob"/></BrushLabels></View>'
)


POSES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="person"/>'
    '</RectangleLabels><KeyPointLabels name="points" toName="image"><Label value="nose"/><Label value="hip"/>'
    "</KeyPointLabels></View>"
)


def point(x: float, y: float, label: str, parent: str) -> dict[str, Any]:
    return {
        "id": f"{label}-{parent}", "from_name": "points", "to_name": "image", "type": "keypointlabels",
        "original_width": 200, "original_height": 100, "parentID": parent,
        "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]},
    }  # fmt: skip


def two_people() -> list[dict[str, Any]]:
    people = [box(5, 5, 30, 60, "person", id="p1"), box(50, 5, 30, 60, "person", id="p2")]
    return [*people, point(10, 10, "nose", "p1"), point(60, 10, "nose", "p2"), point(60, 50, "hip", "p2")]
