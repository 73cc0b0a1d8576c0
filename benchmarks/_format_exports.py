"""Label Studio exports of any size, written task by task: images with boxes, texts with spans."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

WIDTH, HEIGHT = 1280, 720
CLASSES = tuple(f"class{number}" for number in range(10))
ENTITIES = ("PER", "ORG", "LOC", "DATE")
#: What Label Studio writes around the labels of every task and annotation.
_TASK: Mapping[str, Any] = {
    "file_upload": None, "drafts": [], "predictions": [], "meta": {}, "created_at": "2026-01-01T12:00:00.000000Z",
    "updated_at": "2026-01-01T12:00:00.000000Z", "total_annotations": 1, "cancelled_annotations": 0,
    "total_predictions": 0, "comment_count": 0, "unresolved_comment_count": 0, "last_comment_updated_at": None,
    "project": 1, "updated_by": 1, "comment_authors": [],
}  # fmt: skip
_ANNOTATION: Mapping[str, Any] = {
    "was_cancelled": False, "ground_truth": False, "created_at": "2026-01-01T12:00:00.000000Z",
    "updated_at": "2026-01-01T12:00:01.000000Z", "draft_created_at": None, "lead_time": 8.5, "prediction": {},
    "unique_id": "bbbf8f96-bb5d-4904-87ac-a95d974932ad", "import_id": None, "last_action": None, "bulk_created": False,
    "project": 1, "updated_by": None, "parent_prediction": None, "parent_annotation": None, "last_created_by": None,
}  # fmt: skip


def image_config() -> str:
    """A label config for boxes of CLASSES."""
    labels = "".join(f'<Label value="{name}"/>' for name in CLASSES)
    boxes = f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels>'
    return f'<View><Image name="image" value="$image"/>{boxes}</View>'


def text_config() -> str:
    """A label config for spans of ENTITIES."""
    labels = "".join(f'<Label value="{name}"/>' for name in ENTITIES)
    return f'<View><Text name="text" value="$text"/><Labels name="label" toName="text">{labels}</Labels></View>'


def write_export(path: Path, tasks: Iterator[dict[str, Any]]) -> None:
    """One JSON list, in bounded memory."""
    with path.open("wb") as file:
        file.write(b"[")
        for number, task in enumerate(tasks):
            file.write((b"," if number else b"") + orjson.dumps(task))
        file.write(b"]")


def images(count: int, boxes: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """`count` images with `boxes` boxes each, by one person."""
    source = random.Random(seed)
    for number in range(1, count + 1):
        result = [_box(source, f"r{number}-{index}") for index in range(boxes)]
        yield _task(number, {"image": f"/data/local-files/?d=images/{number:06d}.jpg"}, result)


def texts(count: int, spans: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """`count` texts of eight words a span with `spans` spans each, by one person."""
    source = random.Random(seed)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 9))) for _ in range(5000)]
    for number in range(1, count + 1):
        chosen = source.choices(words, k=8 * spans)
        starts, at = [], 0
        for word in chosen:
            starts.append(at)
            at += len(word) + 1
        text = " ".join(chosen) + "."
        result = []
        for index in range(spans):
            first = 8 * index + source.randint(0, 5)
            last = first + source.randint(0, 1)
            start, end = starts[first], starts[last] + len(chosen[last])
            value = {"start": start, "end": end, "text": text[start:end], "labels": [source.choice(ENTITIES)]}
            result.append(
                {"value": value, "id": f"s{number}-{index}", "from_name": "label", "to_name": "text", "type": "labels",
                 "origin": "manual"}
            )  # fmt: skip
        yield _task(number, {"text": text}, result)


def _task(number: int, data: dict[str, Any], result: list[dict[str, Any]]) -> dict[str, Any]:
    annotation = {
        "id": number, "completed_by": 1 + number % 3, "result": result, **_ANNOTATION, "task": number,
        "result_count": len(result),
    }  # fmt: skip
    return {"id": number, "annotations": [annotation], "data": data, **_TASK, "inner_id": number}


def _box(source: random.Random, region_id: str) -> dict[str, Any]:
    width, height = source.uniform(2, 30), source.uniform(2, 30)
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {
            "x": source.uniform(0, 100 - width),
            "y": source.uniform(0, 100 - height),
            "width": width,
            "height": height,
            "rotation": 0,
            "rectanglelabels": [source.choice(CLASSES)],
        },
        "id": region_id,
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "manual",
    }
