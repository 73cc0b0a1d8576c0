"""A backend under the signature of label-studio-ml 2.x, which no index has: its base class as a stand-in, all else real."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from backends import BACKENDS, plugin
from labelloop.errors import UsageError
from labelloop.queueing import Queue
from labelloop.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from plugin_steps import (
    PROJECT,
    event_body,
    fill,
    jobs,
    predict_body,
    serve,
    setup_body,
    task,
    text_of,
    trained_version,
    until,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return trained_version(tmp_path_factory.mktemp("model"))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in's server module, importable as `label_studio_ml` for one test."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "label_studio_ml_2x")
    yield importlib.import_module("label_studio_ml.api")
    for name in [name for name in sys.modules if name.partition(".")[0] == "label_studio_ml"]:
        del sys.modules[name]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders from which models are loaded."""
    import backends.sklearn_text as backend

    seen: list[Path] = []
    really = backend.load

    def load(folder: Path, **named: Any) -> Any:
        seen.append(folder)
        return really(folder, **named)

    monkeypatch.setattr(backend, "load", load)
    return seen


@pytest.fixture
def model_class(
    stand_in: Any, sqlite_store: Store, empty_redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The plugin's class, on a store with one project."""
    fill(sqlite_store, PROJECT)
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.setenv("LABELLOOP_REDIS_URL", empty_redis)
    made = plugin.plugin_class("sklearn_text")
    yield made
    made.service().close()


@pytest.fixture
def client(stand_in: Any, model_class: Any) -> FlaskClient:
    found: FlaskClient = stand_in.init_app(model_class).test_client()
    return found


@pytest.fixture
def queue(sqlite_store: Store, empty_redis: str) -> Queue:
    return Queue(empty_redis, sqlite_store.instance)


def setup(client: FlaskClient) -> str:
    return str(client.post("/setup", json=setup_body()).get_json()["model_version"])


def test_l8_predictions_come_back_as_its_response_class_one_per_task(
    client: FlaskClient, model_class: Any, sqlite_store: Store, version: tuple[Path, str]
) -> None:
    serving_id = serve(sqlite_store, version)
    tasks = [task(1), task(2, data=None), task(4), task(99), task(2)]
    results = client.post("/predict", json=predict_body(*tasks, context={})).get_json()["results"]
    shown = [[region["value"]["choices"] for region in result["result"]] for result in results]
    assert shown == [[[text_of(1)[1]]], [], [], [], [[text_of(2)[1]]]]
    assert {result["model_version"] for result in results} == {serving_id}
    assert all(isinstance(result["score"], float) for result in results)
    assert setup(client) == serving_id
    response = model_class(project_id=str(PROJECT), label_config=setup_body()["schema"]).predict(tasks)
    assert type(response).__name__ == "ModelResponse" and len(response.predictions) == len(tasks)


def test_b1_a_version_is_loaded_once_and_a_new_one_is_followed(
    client: FlaskClient, sqlite_store: Store, version: tuple[Path, str], loads: list[Path]
) -> None:
    assert setup(client) == "sklearn_text-none"
    for run in (1, 2):
        serving_id = serve(sqlite_store, version, run=run)
        until(lambda expected=serving_id: setup(client) == expected)
        for _ in range(3):
            [result] = client.post("/predict", json=predict_body(task(1))).get_json()["results"]
            assert result["model_version"] == serving_id
    assert len(loads) == 1


def test_b2_start_training_and_labels_become_one_job_each_and_nothing_trains_in_the_request(
    client: FlaskClient, queue: Queue, loads: list[Path]
) -> None:
    for action in ("START_TRAINING", "START_TRAINING", "ANNOTATION_CREATED", "ANNOTATION_UPDATED"):
        answer = client.post("/webhook", json=event_body(action))
        assert (answer.status_code, answer.get_json()["status"]) == (201, "ok")
    until(lambda: jobs(queue) == [f"reconcile-p{PROJECT}", f"trainnow-p{PROJECT}"])
    assert loads == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("START_TRAINING",), {}),
        (("START_TRAINING", None), {}),
        (((),), {"event": "START_TRAINING", "data": {"project": {"id": PROJECT}}, "workdir": "/tmp"}),
        ((), {"event": "START_TRAINING", "data": {"project": f"{PROJECT}.17"}, "job_id": "1"}),
    ],
)
def test_b2_fit_takes_the_calls_of_both_lines_and_a_training_without_data(
    model_class: Any, queue: Queue, given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    model = model_class(project_id=str(PROJECT), label_config=setup_body()["schema"])
    assert model.fit(*given, **named) is None
    until(lambda: jobs(queue) == [f"trainnow-p{PROJECT}"])


def test_tasks_that_the_deadline_overtakes_are_asked_for_in_bulk(
    stand_in: Any, model_class: Any, sqlite_store: Store, version: tuple[Path, str], queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    serving_id = serve(sqlite_store, version)
    monkeypatch.setenv("LABELLOOP_PREDICT_BUDGET_S", "0.000001")
    hurried = plugin.plugin_class("sklearn_text")
    client = stand_in.init_app(hurried).test_client()
    results = client.post("/predict", json=predict_body(task(1), task(2))).get_json()["results"]
    assert [(result["result"], result["model_version"]) for result in results] == [([], serving_id)] * 2
    until(lambda: jobs(queue) == [f"reconcile-p{PROJECT}"])
    hurried.service().close()


def test_every_event_that_its_server_hands_over_is_a_hint(model_class: Any, queue: Queue) -> None:
    model = model_class(project_id=str(PROJECT), label_config=setup_body()["schema"])
    body = event_body("ANNOTATIONS_DELETED")
    model.process_event(body.pop("action"), body, "job", {})
    until(lambda: jobs(queue) == [f"reconcile-p{PROJECT}"])


def test_a_child_process_makes_its_own_service(model_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = model_class.service()
    assert model_class.service() is parents
    monkeypatch.setattr(plugin, "os", SimpleNamespace(getpid=lambda: -1))
    child = model_class.service()
    assert child is not parents
    parents.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [("sklearn-text", "did you mean 'sklearn_text'"), ("sklearn_text", "pip install label-studio-ml")],
)
def test_what_is_missing_is_said_when_the_class_is_made(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plugin.plugin_class(name)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_each_backend_is_a_plugin(name: str, stand_in: Any, model_class: Any) -> None:
    made: Any = plugin.plugin_class(name)
    client = stand_in.init_app(made).test_client()
    results = client.post("/predict", json=predict_body(task(1), task(2))).get_json()["results"]
    assert [(result["result"], result["model_version"]) for result in results] == [([], f"{name}-none")] * 2
    made.service().close()
