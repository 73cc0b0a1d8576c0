"""Labels on their whole way: stored, frozen, laid out with their images, learned, measured, judged by the gate."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends import yolo
from labelloop.store import Store
from labelloop.values import Budget
from sync.freezing import freeze, lay_out, open_dataset
from sync.gate import judge
from sync.training import _summary

sys.path.insert(0, str(Path(__file__).parent))
import yolo_scenes as scenes
from frozen_projects import add, label, put_project, task

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]


def test_outlines_and_choices_go_from_the_store_to_the_gate(sqlite_store: Store, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    project = put_project(
        sqlite_store, scenes.config('PolygonLabels name="outline"', 'Choices name="class"'), task_type="segmentation"
    )
    count = 32
    sqlite_store.put_tasks(
        1, [task(n, "pool" if n % 2 else "holdout", data={"image": f"{n}.png"}) for n in range(1, count + 1)]
    )
    for n in range(1, count + 1):
        image, things = scenes.scene(n)
        image.save(images / f"{n}.png")
        add(sqlite_store, [label(n, 1, *scenes.polygons(things), *scenes.choice(things))])
    frozen = open_dataset(str(tmp_path), freeze(sqlite_store, project, str(tmp_path)), tmp_path / "cache")
    folder, failed = lay_out(frozen, tmp_path / "dataset", lambda address: images / address, lambda: None)
    assert failed == {}
    trainer = yolo.trainer()
    made = trainer.fit(folder, tmp_path / "v1", start=None, budget=Budget(epochs=1), progress=lambda *_: None)
    found = trainer.evaluate(made.path, folder)
    assert (found.name, found.n, found.n_objects) == ("mean_score", count // 2, count)
    assert set(found.details["kinds"]) == {"segment", "classify"}
    verdict = judge(found, found, trainer.scores)
    assert verdict.headline is not None and verdict.headline.difference == 0.0
    assert set(verdict.classes) == {f"{kind}/{name}" for kind in ("segment", "classify") for name in scenes.LABELS}
    kept = _summary(found)
    assert kept["details"] == found.details and "per_item" not in kept
