"""The demo's three projects: what they are called, what they hold, and how far their people go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import yaml

from labelloop.demo.images import generate_images
from labelloop.demo.texts import NER_LABELS, TOPIC_LABELS, generate_classification, generate_ner


@dataclass(frozen=True)
class DemoProject:
    """One project of the demo.

    `every` labels start a training and `rounds` of them are made; `export` is the format that it leaves in; `at_least` is
    what the last version must reach on the holdout, and `above_baseline` how far above a model that learned nothing.
    """

    task_type: str
    title: str
    backend: str
    classes: tuple[str, ...]
    count: int
    every: int
    rounds: int
    holdout: float
    kind: str
    control: str
    to_name: str
    key: str
    export: str
    at_least: float
    above_baseline: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def goal(self) -> int:
        """Training labels after which its people stop."""
        return self.every * self.rounds


SHAPES = DemoProject(
    "bbox", "Shapes in images", "yolo", ("circle", "square", "triangle"), 300, 40, 4, 0.22,
    "boxes", "label", "image", "image", "coco", 0.70, 0.0, {"warm_start": "champion", "epochs": 14},
)  # fmt: skip
NEWS = DemoProject(
    "ner", "Names in the news", "spacy_nlp", NER_LABELS, 800, 75, 4, 0.1,
    "spans", "label", "text", "text", "spacy", 0.80, 0.15,
)  # fmt: skip
MESSAGES = DemoProject(
    "text_classification", "Messages to the help desk", "sklearn_text", TOPIC_LABELS, 800, 60, 4, 0.1,
    "choice", "label", "text", "text", "csv", 0.80, 0.15,
)  # fmt: skip
PROJECTS = (SHAPES, NEWS, MESSAGES)
#: Where the demo's folder keeps each project's input.
SOURCES = {"bbox": "shapes", "ner": "news.jsonl", "text_classification": "messages.jsonl"}


def scaled(project: DemoProject, **changes: Any) -> DemoProject:
    """The same project with some values changed, for shorter runs."""
    return replace(project, **changes)


def controls_of(project: DemoProject, label_config: str) -> DemoProject:
    """The project with its control's names as the label config of its template has them."""
    from labelloop.label_config import parse_label_config

    control = parse_label_config(label_config).controls[0]
    return replace(project, control=control.name, to_name=control.to_name, key=control.data_key)


def write_settings(projects: tuple[DemoProject, ...], path: Path) -> None:
    """A labelloop.yaml with one section per project."""
    sections = {
        project.title: {
            "project": {"name": project.title, "task_type": project.task_type, "classes": list(project.classes)},
            "quality": {"overlap_share": 0.15, "check_every_n_labels": 150},
            "active_learning": {
                "strategy": "uncertainty",
                "retrain_every_n_labels": project.every,
                "holdout": project.holdout,
                "holdout_min_items": 1,
                # Smaller holdouts than a real project should have: the demo is to be over in minutes.
                "gate_min_items": 50,
                "gate_min_objects": 50,
                "blind_share": 0.1,
                **project.settings,
            },
            "export": {"format": project.export, "output_dir": str(path.parent / "exports" / project.task_type)},
        }
        for project in projects
    }
    path.write_text(yaml.safe_dump({"projects": sections}, sort_keys=False, allow_unicode=True), encoding="utf-8")


def make_input(projects: tuple[DemoProject, ...], folder: Path, *, shuffled: bool = False) -> Path:
    """Write every project's input below `folder`, and the truth file that only the people get; its path.

    `shuffled` deals the truths out to the wrong texts: nothing can be learned then, and the demo must say so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth = {"projects": {p.title: _truth_of(p, folder, shuffled) for p in projects}}
    path = folder / "truth.json"
    path.write_bytes(orjson.dumps(truth))
    return path


def _truth_of(project: DemoProject, folder: Path, shuffled: bool) -> dict[str, Any]:
    source = folder / SOURCES[project.task_type]
    tasks: dict[str, Any] = {}
    if project.kind == "boxes":
        source.mkdir(exist_ok=True)
        for image in generate_images(source, project.count):
            names = ("label", "x", "y", "width", "height")
            tasks[image.file] = [dict(zip(names, box, strict=True)) for box in image.boxes]
    elif project.kind == "spans":
        for news in generate_ner(project.count):
            tasks[news.text] = [{"start": start, "end": end, "label": label} for start, end, label in news.spans]
    else:
        for message in generate_classification(project.count):
            tasks[message.text] = message.label
    if project.kind != "boxes":
        lines = [orjson.dumps({"text": text}) for text in tasks]
        source.write_bytes(b"\n".join(lines) + b"\n")
        tasks = dict(_as_brought_in(text, answer) for text, answer in tasks.items())
    if shuffled:
        tasks = _dealt_out(tasks)
    return {
        "kind": project.kind,
        "control": project.control,
        "to_name": project.to_name,
        "key": project.key,
        "tasks": tasks,
    }


def _as_brought_in(text: str, answer: Any) -> tuple[str, Any]:
    """A text and its truth as people meet them: ingest makes every line end one character, and spans move along."""
    if isinstance(answer, list):
        ends = ("start", "end")
        answer = [span | {end: span[end] - text.count("\r\n", 0, span[end]) for end in ends} for span in answer]
    return text.replace("\r\n", "\n"), answer


def _dealt_out(tasks: dict[str, Any]) -> dict[str, Any]:
    """Each truth given to another text: a class by chance, spans of the same lengths in places that mean nothing."""
    import random

    source = random.Random(5)
    truths = list(tasks.values())
    source.shuffle(truths)
    dealt: dict[str, Any] = {}
    for text, truth in zip(tasks, truths, strict=True):
        dealt[text] = truth if isinstance(truth, str) else _fitted(truth, text, source)
    return dealt


def _fitted(spans: list[dict[str, Any]], text: str, source: Any) -> list[dict[str, Any]]:
    """As many spans as before on whole words of another text, with the labels they had."""
    import re

    words = [match.span() for match in re.finditer(r"\w+", text)]
    chosen = sorted(source.sample(words, k=min(len(spans), len(words))))
    return [{"start": a, "end": b, "label": s["label"]} for (a, b), s in zip(chosen, spans, strict=False)]
