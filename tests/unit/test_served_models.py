"""The served models of a backend process: following the store, keeping the old model, standby, restarts, bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.serving import ServedModels, ServedRow
from backends.version_labels import ControlLabels, write_labels
from labelloop.artefacts import write_digest
from labelloop.errors import DataError
from labelloop.values import Outcome, TaskItem


class Model:
    """A loaded model that says where it came from."""

    classes = ("Cat",)

    def __init__(self, folder: Path) -> None:
        self.name = (folder / "name.txt").read_text(encoding="utf-8")

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset()) -> list[Outcome]:
        return [Outcome(detail=self.name) for _ in tasks]


class World:
    """A store in memory, artefacts on disk, a loader that counts and can fail, a clock that is moved by hand."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.rows: dict[int, ServedRow] = {}
        self.down = False
        self.loads: list[str] = []
        self.broken: set[str] = set()
        self.now = 0.0

    def served_by(self, backend: str) -> list[ServedRow]:
        if self.down:
            raise ConnectionError("database is gone")
        return [row for row in self.rows.values() if row.backend == backend]

    def load(self, folder: Path) -> Model:
        model = Model(folder)
        self.loads.append(model.name)
        if model.name in self.broken:
            raise RuntimeError("weights do not fit")
        return model

    def version(self, name: str, project: int = 1, run: int = 1) -> ServedRow:
        folder = self.tmp_path / "artifacts" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "name.txt").write_text(name, encoding="utf-8")
            write_labels(folder, [ControlLabels("c", "i", "k", "rectanglelabels", ("Cat",), {"Cat": 0.6})])
        return ServedRow(project, "yolo", name, f"{name}-r{run}", str(folder), write_digest(folder), run)

    def serve(self, name: str, project: int = 1, run: int = 1) -> ServedRow:
        self.rows[project] = self.version(name, project, run)
        return self.rows[project]

    def models(self, **options: Any) -> ServedModels:
        folder = self.tmp_path / "data" / "backends" / "yolo"
        return ServedModels("yolo", self.load, self, folder, clock=lambda: self.now, **options)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def served_name(models: ServedModels, project: int = 1) -> str | None:
    current = models.current(project)
    return None if current is None else current[1].backend.predict([TaskItem(1, {})])[0].detail


def test_a_new_row_is_served_after_one_poll_and_loaded_once(world: World) -> None:
    models = world.models()
    models.poll()
    assert models.current(1) is None
    assert models.not_ready() == []
    world.serve("v1")
    models.poll()
    models.poll()
    assert served_name(models) == "v1"
    assert models.current(1)[1].thresholds == {"c": {"Cat": 0.6}}  # type: ignore[index]
    assert world.loads == ["v1"]


def test_a_new_ranking_of_the_same_model_costs_no_load(world: World) -> None:
    models = world.models()
    world.serve("v1")
    models.poll()
    world.serve("v1", run=2)
    models.poll()
    assert models.serving_ids() == ["v1-r2"]
    assert world.loads == ["v1"]


def test_a_load_that_fails_keeps_the_old_model_and_is_tried_again_later(world: World) -> None:
    models = world.models(retry_s=30)
    world.serve("v1")
    models.poll()
    world.serve("v2")
    world.broken.add("v2")
    models.poll()
    models.poll()
    assert world.loads == ["v1", "v2"]
    assert served_name(models) == "v1"
    assert models.serving_ids() == ["v1-r1"]
    assert models.not_ready() == ["project 1, v2-r1: loading failed with RuntimeError; see the log"]
    world.broken.clear()
    world.now = 31
    models.poll()
    assert served_name(models) == "v2"
    assert models.not_ready() == []


def test_a_wrong_digest_is_not_served(world: World) -> None:
    models = world.models()
    good = world.serve("v1")
    models.poll()
    world.rows[1] = replace(good, model_version="v2", serving_id="v2-r1", digest="0" * 64)
    models.poll()
    assert models.serving_ids() == ["v1-r1"]
    assert "was expected" in models.not_ready()[0]


def test_with_the_store_down_the_last_served_stay(world: World) -> None:
    models = world.models()
    world.serve("v1")
    models.poll()
    world.down = True
    models.poll()
    assert served_name(models) == "v1"
    assert models.not_ready() == []
    assert not models.store_up


def test_a_restart_with_store_and_artefacts_gone_serves_what_it_remembers(world: World, tmp_path: Path) -> None:
    world.serve("v1")
    world.models().poll()
    world.down = True
    (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    again = world.models()
    again.poll()
    assert served_name(again) == "v1"
    assert again.serving_ids() == ["v1-r1"]
    world.down = False
    world.rows.clear()
    again.poll()
    assert again.current(1) is None


def test_a_first_start_with_the_store_down_is_not_ready(world: World) -> None:
    world.down = True
    models = world.models()
    models.poll()
    assert "not known yet" in models.not_ready()[0]


def test_a_broken_memory_does_not_stop_a_start(world: World) -> None:
    world.serve("v1")
    models = world.models()
    models.poll()
    (models.folder / "served.json").write_text("[{", encoding="utf-8")
    world.down = True
    again = world.models()
    again.poll()
    assert again.current(1) is None
    world.down = False
    again.poll()
    assert served_name(again) == "v1"


def test_a_standby_is_promoted_without_a_second_load(world: World) -> None:
    models = world.models()
    world.serve("v1")
    models.poll()
    coming = world.version("v2")
    models.prepare(1, "v2", coming.path, coming.digest)
    assert served_name(models) == "v1"
    world.serve("v2")
    models.poll()
    assert served_name(models) == "v2"
    assert world.loads == ["v1", "v2"]


def test_a_standby_that_does_not_load_raises_and_changes_nothing(world: World) -> None:
    models = world.models()
    world.serve("v1")
    models.poll()
    coming = world.version("v2")
    world.broken.add("v2")
    with pytest.raises(RuntimeError):
        models.prepare(1, "v2", coming.path, coming.digest)
    with pytest.raises(DataError):
        models.prepare(1, "v2", coming.path, "1" * 64)
    assert served_name(models) == "v1"
    assert models.load_failures == 2


def test_y8_memory_is_bounded_and_what_was_pushed_out_loads_again(world: World) -> None:
    models = world.models(max_loaded=2)
    for project in (1, 2, 3):
        world.serve(f"p{project}", project)
    models.poll()
    assert models.loaded_count == 2
    assert models.not_ready() == []
    assert [served_name(models, project) for project in (1, 2, 3)] == ["p1", "p2", "p3"]
    assert models.loaded_count == 2


def test_old_versions_leave_memory_before_served_ones(world: World) -> None:
    models = world.models(max_loaded=2)
    world.serve("a", 1)
    models.poll()
    for name in ("b1", "b2", "b3"):
        world.serve(name, 2)
        models.poll()
    assert served_name(models, 1) == "a"
    assert world.loads == ["a", "b1", "b2", "b3"]


def test_local_copies_are_pruned_but_never_the_served_one(world: World) -> None:
    models = world.models(max_loaded=1, max_copies=2)
    for number in range(5):
        row = world.serve(f"v{number}")
        models.poll()
    copies = [each.name for each in models.folder.iterdir() if each.is_dir()]
    assert len(copies) == 2
    assert row.digest in copies


def test_a_broken_labels_file_is_a_failed_load(world: World, tmp_path: Path) -> None:
    row = world.version("v1")
    (tmp_path / "artifacts" / "v1" / "labels.json").write_text(
        '{"controls": [{"show_threshold": [1]}]}', encoding="utf-8"
    )
    world.rows[1] = replace(row, digest=write_digest(tmp_path / "artifacts" / "v1"))
    models = world.models()
    models.poll()
    assert models.current(1) is None
    assert "labels.json" in models.not_ready()[0]


def test_the_thread_follows_the_store_and_ends(world: World) -> None:
    models = world.models(poll_s=0.01)
    world.serve("v1")
    models.start()
    for _ in range(500):
        if models.current(1) is not None:
            break
        models._stopped.wait(0.01)
    models.stop()
    assert served_name(models) == "v1"
    assert models._thread is not None and not models._thread.is_alive()
