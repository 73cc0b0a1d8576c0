"""What a real model says of pictures beside its classes is stored with it, and finds wrong labels and strange pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select
from typer.testing import CliRunner

from backends import yolo
from backends.yolo import importing
from labelloop.cli import app
from labelloop.label_config import parse_label_config
from labelloop.settings import ServiceSettings
from labelloop.store import Store, open_store
from labelloop.store.signals import unpack
from labelloop.store.tables import outcomes, revisions, signals
from labelloop.store.types import utc_now
from labelloop.values import TaskItem
from sync.prediction import predict_tasks

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from store_guard import Guard
from yolo_networks import CLASSES, checkpoint, picture

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

NAMES = CLASSES["classify"]
CONFIG = '<View><Image name="im" value="$image"/><Choices name="c" toName="im">{}</Choices></View>'.format(
    "".join(f'<Choice value="{name}"/>' for name in NAMES)
)
TASKS, BROKEN, STRANGE = 60, 60, 59


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("network")
    file = checkpoint("classify", folder / "checkpoints", seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "build_engine", lambda *args, **more: None, raising=False)
        yolo.import_model([str(file)], parse_label_config(CONFIG), folder / "v1")
    return yolo.load(folder / "v1")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A project of pictures of four places; that of one task can't be read, and one is another kind of picture."""
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = open_store(ServiceSettings(data=tmp_path).database)
    store.put_project(project_id=1, title="Days", task_type="image_classification", backend="yolo", label_config=CONFIG,
                      settings={})  # fmt: skip
    for n in range(1, TASKS):
        noise = np.random.default_rng(n).integers(-8, 9, (96, 96, 3))
        pixels = np.clip(np.asarray(picture(n % 4, 96, 96)) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    Image.fromarray(np.indices((96, 96)).sum(axis=0).astype(np.uint8) % 2 * 255).convert("RGB").save(
        tmp_path / f"{STRANGE}.png"
    )
    (tmp_path / f"{BROKEN}.png").write_text("no picture")
    store.put_tasks(1, [
        {"task_id": n, "data": {"image": f"{n}.png"}, "overlap": 1, "content_hash": f"c{n}", "group_key": f"c{n}",
         "meta": {}, "role": "pool"} for n in range(1, TASKS + 1)
    ])  # fmt: skip
    yield store
    store.engine.dispose()


def predict(store: Store, backend: Any, folder: Path, version: str = "v1") -> int:
    return predict_tasks(
        store, store.find_project("Days"), version, backend, store.tasks(1), lambda address: folder / address,
        Guard(store), lambda share, message: None,
    )  # fmt: skip


def rows_of(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(signals).order_by(signals.c.task_id, signals.c.control)))


def test_chances_and_one_embedding_of_each_readable_task_are_stored(store: Store, backend: Any, tmp_path: Path) -> None:
    assert predict(store, backend, tmp_path) == TASKS
    rows = rows_of(store)
    assert [(row.task_id, row.control) for row in rows] == [(n, each) for n in range(1, TASKS) for each in ("", "c")]
    asked = TaskItem(7, {"image": "/a"}, {"/a": tmp_path / "7.png"})
    (said,) = backend.predict([asked], want=frozenset({"regions", "probs", "embedding"}))
    embedding, chances = ([row for row in rows if row.task_id == 7])[0:2]
    assert embedding.probs is None and chances.embedding is None
    assert chances.probs == pytest.approx({name: p for name, p in said.probs.items() if p >= 1e-4}, abs=1e-4)
    vector, whole = np.array(unpack(embedding.embedding)), np.array(said.embedding)
    assert len(vector) == len(whole) and vector @ whole / np.linalg.norm(whole) == pytest.approx(1, abs=1e-3)
    assert len(json.dumps([embedding.embedding, chances.probs])) < 3 * len(whole) + 100
    assert predict(store, backend, tmp_path) == 0 and len(rows_of(store)) == len(rows)


def test_chances_from_before_the_labels_tell_the_wrong_one_and_embeddings_the_strange_picture(
    store: Store, backend: Any, tmp_path: Path
) -> None:
    predict(store, backend, tmp_path)
    with store.read() as connection:
        labelled = connection.execute(select(func.max(outcomes.c.created_at))).scalar_one() + timedelta(seconds=1)
    chances = {row.task_id: row.probs for row in rows_of(store) if row.probs}
    surest = max(chances, key=lambda task: max(chances[task].values()))
    rows = []
    for task, each in chances.items():
        ordered = sorted(NAMES, key=lambda name: each.get(name, 0.0))
        given = ordered[0] if task == surest else ordered[-1]
        region = {"id": "r", "from_name": "c", "to_name": "im", "type": "choices", "value": {"choices": [given]}}
        rows.append(
            {"project_id": 1, "annotation_id": task, "task_id": task, "rev": 1, "rev_hash": f"h{task}", "person_id": 7,
             "kind": "human", "state": "submitted", "ground_truth": False, "created_at": labelled, "updated_at": labelled,
             "seen_at": labelled, "lead_time_s": 2.0, "parent_prediction": None, "shown_serving_id": None,
             "config_hash": "c", "result": [region]}
        )  # fmt: skip
    with store.begin() as connection:
        store.insert_missing(connection, revisions, rows)
    result = CliRunner().invoke(app, ["errors", "Days", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert [(each["task"], each["type"], each["detector"]) for each in told["findings"]][:1] == [
        (surest, "wrong_class", "confident_learning")
    ]
    assert [each["tasks"] for each in told["data"] if each["type"] == "outlier"] == [[STRANGE]]
    assert not [each for each in told["skipped"] if "outliers" in each["detector"] or "learning" in each["detector"]]


def test_embeddings_of_different_versions_are_not_compared(store: Store, backend: Any, tmp_path: Path) -> None:
    predict(store, backend, tmp_path)
    early = utc_now() - timedelta(days=1)
    key = {"project_id": 1, "model_version": "v0", "task_id": 1}
    said = key | {"created_at": early, "status": "ok", "confidence": None, "uncertainty": None, "result": []}
    with store.begin() as connection:
        store.insert_missing(connection, outcomes, [said])
        store.insert_missing(connection, signals, [key | {"control": "", "item": "", "embedding": [1.0, 2.0]}])
    result = CliRunner().invoke(app, ["errors", "Days", "--json"])
    assert not [each for each in json.loads(result.stdout)["skipped"] if each["detector"] == "outliers"]
