"""What a detector reaches through the real loop with half of the labels: Label Studio, people, workers, trainings, the gate."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson
from PIL import Image

from backends import backend_module
from benchmarks._comparison import at_least, not_measured
from labelloop.artefacts import fetch_artefact
from labelloop.demo.measuring import ProjectRun
from labelloop.demo.projects import SHAPES, DemoProject, controls_of, scaled, write_settings
from labelloop.demo.run import Demo, DemoOptions, started
from labelloop.demo.screen import Screen
from labelloop.settings import ServiceSettings
from labelloop.values import Budget
from sync.folds import lay_out_split
from sync.simulating.sources import Prepared, prepare

#: How far below a model of all labels one of half of them may be.
WITHIN = 0.03
ROUNDS = 4
#: Of the images that are learned from, in a project of the loop.
_HOLDOUT = 0.1
_ENVS = Path(__file__).parents[1] / ".labelloop" / "envs"


@dataclass(frozen=True)
class Seed:
    """mAP50 on the images to test by: through the loop with `labelled` images, of as many random ones, and of all."""

    loop: float
    random: float
    whole: float
    labelled: int
    hours: float


def loop_rows(data: Sequence[Path], seeds: int, epochs: int, side: int) -> list[dict[str, Any]]:
    """Two rows for each folder of labelled images with boxes (VOC, COCO, YOLO): against all labels, and against random ones."""
    if not data:
        return [not_measured("a detector through the loop", "all labels", "--data names no folder of labelled images")]
    rows = []
    for folder in data:
        with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as made:
            prepared = prepare(folder, Path(made))
            _shrink(prepared, side)
            found = [_seed(prepared, Path(made) / str(seed), seed, epochs) for seed in range(seeds)]
        loop, random, whole = (
            statistics.mean(getattr(each, name) for each in found) for name in ("loop", "random", "whole")
        )
        told: dict[str, Any] = {
            "images": len(prepared.pool), "labelled": [each.labelled for each in found],
            "each": [[round(value, 4) for value in (each.loop, each.random, each.whole)] for each in found],
            "hours": [round(each.hours, 2) for each in found],
        }  # fmt: skip
        half = f"{folder.name}: mAP50 through the loop, half of the labels, {seeds} seeds"
        rows += [
            at_least(half, loop, max(whole - WITHIN, 1e-9), f"all labels less {WITHIN:g}", unit="mAP50", **told),
            at_least(half, loop, max(random, 1e-9), "a random half", unit="mAP50"),
        ]
    return rows


def _shrink(prepared: Prepared, side: int) -> None:
    """Make every image at most `side` pixels long: what a detector is trained at follows from its images."""
    for file in sorted((prepared.folder / "media").iterdir()):
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        image.thumbnail((side, side))
        file.unlink()  # it may be another's file by a link
        image.save(file, quality=95)


def _seed(prepared: Prepared, scratch: Path, seed: int, epochs: int) -> Seed:
    scratch.mkdir()
    half = len(prepared.pool) // 2
    loop, labelled, hours = _by_the_loop(prepared, scratch / "loop", half, seed, epochs)
    chosen = Random(seed).sample(prepared.pool, labelled)
    random = _learned(prepared, chosen, scratch / "random", seed, epochs)
    whole = _learned(prepared, prepared.pool, scratch / "whole", seed, epochs)
    found = Seed(loop, random, whole, labelled, hours)
    print(found, file=sys.stderr, flush=True)
    return found


def _learned(prepared: Prepared, tasks: Sequence[int], scratch: Path, seed: int, epochs: int) -> float:
    """The test score of a detector that learned from these tasks, outside the loop."""
    test, own = set(prepared.test), set(tasks)
    data = lay_out_split(prepared.dataset, scratch / "data", tasks=own | test, held=test, labelled=own | test)
    (scratch / "out").mkdir()
    trainer = backend_module("yolo").trainer()
    budget = Budget(epochs, seed=seed, calibrate=False)
    made = trainer.fit(data, scratch / "out", start=None, budget=budget, progress=lambda _share, _message: None)
    return float(trainer.evaluate(made.path, data).value)


def _by_the_loop(prepared: Prepared, scratch: Path, half: int, seed: int, epochs: int) -> tuple[float, int, float]:
    """(test score of what is served in the end, images that were labelled, hours): rounds of labels, each learned from."""
    scratch.mkdir()
    config = prepared.dataset.label_config
    every = max((half - round(_HOLDOUT * len(prepared.pool))) // ROUNDS, 1)
    project = scaled(
        SHAPES, title=f"Objects {seed}", classes=config.first("RectangleLabels").classes, count=len(prepared.pool),
        every=every, rounds=ROUNDS, holdout=_HOLDOUT,
        settings={"strategy": "hybrid", "epochs": epochs, "warm_start": "none"},
    )  # fmt: skip
    options = DemoOptions(projects=(project,), envs=_ENVS)
    began = time.monotonic()
    with started(ServiceSettings(data=scratch / "data"), options, Screen(live=False)) as demo:
        run = _set_up(demo, prepared, project)
        demo.command("train", str(run.project_id), "--resume")
        demo.crowd.tell_all(pause=True)
        demo.crowd.start()
        for number in range(1, ROUNDS + 1):
            demo.label_until(run, every * number)
            demo.settle()
        # What came after the last training was asked for.
        demo.command("train", str(run.project_id))
        demo.settle()
        served = demo.store.served(run.project_id)
        labelled = {label.task_id for label in demo.store.labels(run.project_id)}
        if served is None or not served.digest:
            return 0.0, len(labelled), (time.monotonic() - began) / 3600
        artefact = fetch_artefact(served.path, served.digest, scratch / "versions")
    hours = (time.monotonic() - began) / 3600
    test = set(prepared.test)
    data = lay_out_split(prepared.dataset, scratch / "test", tasks=test, held=test, labelled=test)
    return float(backend_module("yolo").trainer().evaluate(artefact, data).value), len(labelled), hours


def _set_up(demo: Demo, prepared: Prepared, project: DemoProject) -> ProjectRun:
    """A project with the images that may be labelled; only its people know the boxes."""
    write_settings((project,), demo.settings_file)
    made = int(demo.command("project", "create", project.title)["project"])
    shown = controls_of(project, demo.client.get_project(made)["label_config"])
    run = ProjectRun(shown, made)
    demo.runs[project.task_type] = run
    images = demo.folder / "images"
    images.mkdir()
    own, truths = set(prepared.pool), {}
    for task, data, result in prepared.dataset.truth("train"):
        for file in prepared.dataset.media(task, data).values() if task in own else ():
            shutil.copyfile(file, images / file.name)
            truths[file.name] = [
                {"label": each["value"]["rectanglelabels"][0], **{key: each["value"][key] for key in _PLACE}}
                for each in result
            ]
    truth = {"kind": shown.kind, "control": shown.control, "to_name": shown.to_name, "key": shown.key, "tasks": truths}
    (demo.folder / "truth.json").write_bytes(orjson.dumps({"projects": {project.title: truth}}))
    demo.command("ingest", str(made), str(images))
    return run


_PLACE = ("x", "y", "width", "height")
