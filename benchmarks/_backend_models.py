"""Model versions to measure: trained on generated images and texts, as a project's would be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from PIL import Image

from backends import backend_module
from labelloop.datasets import write_dataset
from labelloop.demo.images import LABELS, ImageTruth, generate_images
from labelloop.demo.texts import NER_LABELS, generate_ner
from labelloop.values import Budget
from templates.catalogue import load_template

IMAGES, HOLDOUT = 240, 60
EPOCHS = 16
SMALL, LARGE = 160, 640
TOPICS = {
    "sport": "match team goal season coach player league score race",
    "weather": "rain wind storm cloud sunshine degrees forecast snow front",
}
_AT = "2026-01-01T12:00:00Z"


@dataclass(frozen=True)
class Trained:
    """A version's folder, the dataset that it was trained on, and the label config."""

    version: Path
    dataset: Path
    config: str


def yolo_version(folder: Path, tell: Callable[[str], None]) -> Trained:
    """A YOLO11n that finds the demo's shapes at SMALL pixels; the holdout has HOLDOUT images."""
    dataset, config = image_dataset(folder)
    return Trained(_fitted("yolo", dataset, folder / "yolo-p1-v1", tell), dataset, config)


def image_dataset(folder: Path) -> tuple[Path, str]:
    """A dataset version of the demo's drawn images with their boxes, and its label config."""
    truths = generate_images(folder / "drawn", IMAGES, seed=3)
    config = load_template("bbox").config_for(LABELS)
    control = _control_names(config)
    items = [({"image": f"/data/upload/{truth.file}"}, _boxes(truth, control)) for truth in truths]
    return _write(
        folder / "dataset", config, LABELS, items, [folder / "drawn" / truth.file for truth in truths]
    ), config


def text_version(folder: Path, backend: str, tell: Callable[[str], None]) -> Trained:
    """A classifier of short texts."""
    dataset, config = text_dataset(folder, 200)
    return Trained(_fitted(backend, dataset, folder / f"{backend}-p1-v1", tell), dataset, config)


def text_dataset(folder: Path, texts: int) -> tuple[Path, str]:
    """A dataset version of that many short texts of two topics, and its label config."""
    config = load_template("text_classification").config_for(tuple(TOPICS))
    items = []
    for number in range(texts):
        topic = list(TOPICS)[number % 2]
        choice = {"id": "c", "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [topic]}}
        items.append(({"text": short_text(number)}, [choice]))
    return _write(folder / "dataset", config, tuple(TOPICS), items, []), config


def spacy_version(folder: Path, tell: Callable[[str], None]) -> Trained:
    """A spaCy pipeline that finds the demo's entities."""
    config = load_template("ner").config_for(NER_LABELS)
    items = []
    for truth in generate_ner(240, seed=4):
        result = [
            {
                "id": f"r{index}", "from_name": "label", "to_name": "text", "type": "labels",
                "value": {"start": start, "end": end, "text": truth.text[start:end], "labels": [name]},
            }
            for index, (start, end, name) in enumerate(truth.spans)
        ]  # fmt: skip
        items.append(({"text": truth.text}, result))
    dataset = _write(folder / "dataset", config, NER_LABELS, items, [])
    return Trained(_fitted("spacy_nlp", dataset, folder / "spacy_nlp-p1-v1", tell), dataset, config)


def short_text(number: int) -> str:
    """A text of one topic: even numbers sport, odd ones weather."""
    words = list(TOPICS.values())[number % 2].split()
    return f"Report {number}: " + " ".join(words[(number * step) % len(words)] for step in (1, 2, 3, 5, 7))


def at_size(trained: Trained, folder: Path, side: int, *, engine: bool, threads: int) -> Path:
    """A copy of a yolo version whose network takes `side` pixels, with an engine built for that or without any."""
    from backends.yolo.engine_export import build_engine

    shutil.copytree(trained.version, folder)
    shutil.rmtree(folder / "engine", ignore_errors=True)
    for file in sorted((folder / "model").rglob("model.json")):
        body = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(body | {"image_size": side}), encoding="utf-8")
        if engine:
            build_engine(file.parent, images=sorted((trained.dataset / "media").iterdir()), threads=threads)
    return folder


def engine_told(version: Path) -> dict[str, Any]:
    """What engine.json of a version says, or {} when it has none."""
    records = sorted((version / "engine").rglob("engine.json"))
    return dict(orjson.loads(records[0].read_bytes())) if records else {}


def montages(drawn: Path, folder: Path, count: int, side: int = LARGE) -> list[Path]:
    """`count` JPEG files of `side` x `side` pixels: the drawn images side by side, at their own size."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [Image.open(file).convert("RGB") for file in sorted(drawn.iterdir())]
    across = side // SMALL
    out = []
    for number in range(count):
        sheet = Image.new("RGB", (side, side))
        for place in range(across * across):
            tile = sources[(number * 7 + place * 5) % len(sources)]
            sheet.paste(tile, (place % across * SMALL, place // across * SMALL))
        out.append(folder / f"sheet_{number:03d}.jpg")
        sheet.save(out[-1], quality=90)
    return out


def _fitted(backend: str, dataset: Path, out: Path, tell: Callable[[str], None]) -> Path:
    trainer = backend_module(backend).trainer()
    budget = Budget(epochs=EPOCHS, seed=1)
    trainer.fit(dataset, out, start=None, budget=budget, progress=lambda share, text: tell(f"{backend}: {text}"))
    return out


def _control_names(config: str) -> tuple[str, str]:
    from labelloop.label_config import parse_label_config

    control = parse_label_config(config).controls[0]
    return control.name, control.to_name


def _boxes(truth: ImageTruth, control: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{index}", "from_name": control[0], "to_name": control[1], "type": "rectanglelabels",
            "original_width": truth.width, "original_height": truth.height, "image_rotation": 0,
            "value": {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [label]},
        }
        for index, (label, x, y, w, h) in enumerate(truth.boxes)
    ]  # fmt: skip


def _write(
    folder: Path,
    config: str,
    classes: Sequence[str],
    items: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]],
    media: Sequence[Path],
) -> Path:
    """A dataset version, every fourth of whose tasks is held out; `media` are the files of the tasks, or none."""
    from datetime import UTC, datetime

    (folder / "media").mkdir(parents=True)
    tasks, labels = [], []
    for number, (data, result) in enumerate(items, start=1):
        if media:
            shutil.copy(media[number - 1], folder / "media" / f"{number}-0{media[number - 1].suffix}")
        split = "holdout" if number % 4 == 0 else "train"
        tasks.append(
            {"task_id": number, "data": orjson.dumps(data).decode(), "group_key": str(number), "split": split,
             "role": "holdout" if split == "holdout" else "pool"}
        )  # fmt: skip
        labels.append(
            {"task_id": number, "annotation_id": number, "annotator": 1, "at": datetime.now(UTC), "rev_hash": "0",
             "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True, "result": orjson.dumps(result).decode()}
        )  # fmt: skip
    body = {"schema_version": 1, "project": 1, "label_config": config, "classes": list(classes), "options": {}}
    write_dataset(folder, body, tasks, labels, None, _AT)
    return folder
