"""A backend under the published label-studio-ml 1.0.9: its real server, its real pins, requests as Label Studio sends them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from backends.__main__ import make_app
from labelloop.queueing import Queue
from labelloop.settings import ServiceSettings
from labelloop.store import Store, open_store

sys.path.insert(0, str(Path(__file__).parent))
from plugin_environment import plugin_environment, published_server
from plugin_steps import (
    CONFIG,
    OTHER,
    PROJECT,
    event_body,
    fill,
    free_port,
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

#: Written before the guide's model.py: each load of a model becomes a line of the server's log.
COUNT_LOADS = """
import backends.sklearn_text as counted

def load(*args, really=counted.load, **named):
    print("a model is loaded", flush=True)
    return really(*args, **named)

counted.load = load
"""


@dataclass(frozen=True)
class Published:
    """The running server, and what it stands on."""

    client: httpx.Client
    store: Store
    queue: Queue
    services: ServiceSettings
    version: tuple[Path, str]
    folder: Path

    def setup(self, project_id: int = PROJECT) -> str:
        answer = self.client.post("/setup", json=setup_body(project_id))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_version"])

    def predict(self, *tasks: dict[str, Any], **how: Any) -> list[dict[str, Any]]:
        """As Label Studio asks: first /health and /setup, then the tasks."""
        assert self.client.get("/health").status_code == 200
        self.setup(how.get("project_id", PROJECT))
        answer = self.client.post("/predict", json=predict_body(*tasks, **how))
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert isinstance(results, list)
        assert {result["model_version"] for result in results} == {answer.json()["model_version"]}
        return results

    def tell(self, body: dict[str, Any]) -> httpx.Response:
        """Label Studio sends a backend's credentials with everything but the events of its automatic webhook."""
        known = self.services.backend_login if body["action"] == "START_TRAINING" else None
        return self.client.post("/webhook", json=body, auth=known)

    def log(self) -> str:
        return (self.folder / "server.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Published]:
    """One server for the tests of this file, with two projects and one trained version."""
    folder = tmp_path_factory.mktemp("plugin")
    services = ServiceSettings(data=folder / "data", redis_url=redis_url, backend_password=SecretStr("p4ss"))
    services.data.mkdir()
    store = open_store(services.database)
    version = trained_version(folder)
    for project_id in (PROJECT, OTHER):
        fill(store, project_id)
    serve(store, version)
    with published_server(folder, services, free_port(), COUNT_LOADS) as client:
        yield Published(client, store, Queue(redis_url, store.instance), services, version, folder)
    store.close()


def of_our_own_server(server: Published, folder: Path, body: dict[str, Any]) -> Any:
    """What `python -m backends sklearn_text` answers on the same store."""
    app = make_app("sklearn_text", server.services.model_copy(update={
        "data": folder, "database_url": server.services.database, "artifacts_uri": server.services.artifacts,
    }))  # fmt: skip
    try:
        until(lambda: app.extensions["served_models"].row(PROJECT) is not None)
        return app.test_client().post("/predict", json=body, auth=server.services.backend_login).get_json()["results"]
    finally:
        app.extensions["served_models"].stop()
        app.extensions["hints"].close()


def test_it_runs_beside_the_pins_of_that_package() -> None:
    found = {path.name.lower() for path in plugin_environment().glob("lib/python*/site-packages/*.dist-info")}
    assert {"label_studio_ml-1.0.9.dist-info", "flask-1.1.2.dist-info", "werkzeug-2.0.2.dist-info"} <= found


def test_l8_n_tasks_give_n_predictions_and_a_broken_one_costs_no_other(server: Published, tmp_path: Path) -> None:
    broken = [task(2, data=None), task(2, data={"other": 1}), task(2, data={"text": {"not": "text"}})]
    unknown = task(77, id="no number")
    body = predict_body(task(1), *broken, task(4), task(5), task(99), unknown, task(3))
    results = server.predict(*body["tasks"])
    assert len(results) == 9
    for number, result in ((1, results[0]), (3, results[-1])):
        assert [region["value"]["choices"] for region in result["result"]] == [[text_of(number)[1]]]
        assert result["reason"] == "ok"
    assert all(result["result"] == [] for result in results[1:-1])
    assert [result["reason"] for result in results[4:8]] == ["blind", "blind", "role_unknown", "role_unknown"]
    assert {result["model_version"] for result in results} == {server.setup()}
    own = of_our_own_server(server, tmp_path, body)
    assert [without_ids(result) for result in results] == [without_ids(result) for result in own]


def without_ids(result: dict[str, Any]) -> dict[str, Any]:
    """A prediction without the ids that a model makes up for its regions."""
    return result | {"result": [{key: value for key, value in r.items() if key != "id"} for r in result["result"]]}


def test_an_interactive_request_is_answered_like_any_other(server: Published) -> None:
    context = {"result": [{"id": "a", "type": "choices", "from_name": "topic", "to_name": "text", "value": {}}]}
    [result] = server.predict(task(1, drafts=[]), context=context)
    assert result["result"][0]["value"]["choices"] == ["sea"]


def test_two_projects_on_one_server_each_get_their_own_version(server: Published) -> None:
    assert server.setup(OTHER) == "sklearn_text-none"
    theirs = serve(server.store, server.version, project_id=OTHER)
    until(lambda: server.setup(OTHER) == theirs)
    # the setup of one between setup and predict of the other: 1.0.9 itself keeps only the last one
    server.setup(PROJECT)
    answer = server.client.post("/predict", json=predict_body(task(1001, OTHER), project_id=OTHER))
    assert [each["model_version"] for each in answer.json()["results"]] == [theirs]


def test_b1_a_version_is_loaded_once_however_often_it_is_asked_and_served_anew(server: Published) -> None:
    for run in (2, 3):
        moved = serve(server.store, server.version, run=run)
        until(lambda expected=moved: server.setup() == expected)
        assert {result["model_version"] for result in server.predict(task(1), task(2))} == {moved}
    assert server.log().count("a model is loaded") == 1


def test_b2_start_training_carries_no_data_and_asks_for_one_training(server: Published, empty_redis: str) -> None:
    for _ in range(3):
        assert server.tell(event_body("START_TRAINING")).status_code == 201
    until(lambda: jobs(server.queue) == [f"trainnow-p{PROJECT}"])
    for body in ({"action": "START_TRAINING"}, {"action": "START_TRAINING", "project": None}):
        answer = server.tell(body)
        assert (answer.status_code, answer.json()) == (201, {"accepted": False})
    assert jobs(server.queue) == [f"trainnow-p{PROJECT}"]
    assert "Traceback" not in server.log()


def test_an_event_enqueues_one_reconcile_and_nothing_else(server: Published, empty_redis: str) -> None:
    for action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "ANNOTATION_CREATED"):
        assert server.tell(event_body(action)).json() == {"accepted": True}
    until(lambda: jobs(server.queue) == [f"reconcile-p{PROJECT}"])
    until(lambda: server.queue.is_dirty(PROJECT))
    kept = [path.name for path in (server.folder / "sklearn_text").iterdir() if path.is_dir()]
    assert [name for name in kept if name.isdigit()] == [], "1.0.9 itself keeps every event with its token in a folder"


def test_with_a_password_strangers_get_nothing_but_hints_about_served_projects(
    server: Published, empty_redis: str
) -> None:
    assert server.client.get("/health", auth=None).status_code == 200
    for path, body in (("/setup", setup_body()), ("/predict", predict_body(task(1))), ("/train", {"project": "3.1"})):
        assert server.client.post(path, json=body, auth=None).status_code == 401
        assert server.client.post(path, json=body, auth=("labelloop", "wrong")).status_code == 401
    for body in (event_body("START_TRAINING"), event_body("ANNOTATION_CREATED", 77), {"action": 1}, []):
        assert server.client.post("/webhook", json=body, auth=None).status_code == 401
    assert server.tell(event_body("ANNOTATION_CREATED")).json() == {"accepted": True}
    until(lambda: jobs(server.queue) == [f"reconcile-p{PROJECT}"])


def test_the_other_endpoints_of_that_server_answer_too(server: Published, empty_redis: str) -> None:
    assert server.client.post("/versions", json={"project": f"{PROJECT}.17"}).json()["versions"] == [server.setup()]
    training = server.client.get("/is_training", params={"project": f"{PROJECT}.17"}).json()
    assert (training["is_training"], training["model_version"]) == (False, server.setup())
    old = {"annotations": [{"id": 1}], "project": f"{PROJECT}.17", "label_config": CONFIG}
    assert server.client.post("/train", json=old).status_code == 201
    until(lambda: jobs(server.queue) == [f"trainnow-p{PROJECT}"])
