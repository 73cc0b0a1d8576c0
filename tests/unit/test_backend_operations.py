"""The backend server beside /predict: hooks, the secret, standby loading, readiness."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backend_bench import PROJECT, SECRET, TEXT_CONFIG, Bench, Model, Queue, Store, reasons, request_of, task

from backends import server
from backends.serving import ServedRow
from labelloop.settings import ServiceSettings


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


# -- instant endpoints -------------------------------------------------------------------------------------------------


def test_health_and_setup_load_nothing(bench: Bench) -> None:
    path, digest = bench.artefact()
    bench.store.rows = [ServedRow(PROJECT, "fake", "fake-p3-v1", "fake-p3-v1-r1", path, digest, 1)]
    bench.load = lambda path: pytest.fail("loaded")
    assert bench.client.get("/health").get_json()["status"] == "UP"
    setup = {
        "project": "3.1795233319", "schema": TEXT_CONFIG, "hostname": "http://127.0.0.1:8091",
        "access_token": "0123456789abcdef0123456789abcdef01234567", "extra_params": {"a": 1},
    }  # fmt: skip
    assert bench.client.post("/setup", json=setup).get_json() == {"model_version": "fake-none"}
    assert bench.client.get("/versions").get_json() == {"versions": ["fake-none"]}


def test_setup_and_versions_answer_the_serving_id(bench: Bench) -> None:
    bench.serve()
    assert bench.client.post("/setup", json={"project": "3.17"}).get_json() == {"model_version": "fake-p3-v1-r1"}
    assert bench.client.post("/setup", json={"project": "4.17"}).get_json() == {"model_version": "fake-none"}
    assert bench.client.get("/versions").get_json() == {"versions": ["fake-p3-v1-r1"]}
    assert bench.client.get("/").get_json()["serving"] == ["fake-p3-v1-r1"]


# -- hooks -------------------------------------------------------------------------------------------------------------


def test_events_and_start_training_are_hints(bench: Bench) -> None:
    project = {"id": PROJECT, "title": "txt"}
    assert bench.client.post("/webhook", json={"action": "ANNOTATIONS_DELETED", "project": project}).status_code == 202
    assert bench.queue.wait_for(2) == [("dirty", 3), ("reconcile", 3)]
    basic = {"Authorization": "Basic dTpw"}
    started = bench.client.post("/webhook", json={"action": "START_TRAINING", "project": project}, headers=basic)
    assert started.status_code == 202
    assert bench.queue.wait_for(3)[2] == ("train", 3)


def test_an_event_without_a_project_is_accepted_and_gives_nothing(bench: Bench) -> None:
    answer = bench.client.post("/webhook", json={"action": "ANNOTATION_CREATED"})
    assert (answer.status_code, answer.get_json()) == (202, {"accepted": False})
    assert bench.client.post("/webhook", json={"project": {"id": 3}}).status_code == 400


def test_a_wrong_secret_is_refused_everywhere(bench: Bench) -> None:
    wrong = {"X-Labelloop-Secret": "other"}
    event = {"action": "START_TRAINING", "project": {"id": 3}}
    assert bench.client.post("/webhook", json=event, headers=wrong).status_code == 401
    for path in ("/train", "/ready"):
        assert bench.client.post(path, json={"project": 3}, headers=wrong).status_code == 401
        assert bench.client.post(path, json={"project": 3}).status_code == 401
    assert bench.queue.calls == []
    assert bench.client.post("/train", json={"project": 3}, headers=SECRET).status_code == 202
    assert bench.queue.wait_for(1) == [("train", 3)]


def test_without_a_configured_secret_nobody_may_load_a_model(tmp_path: Path) -> None:
    app = server.create_app("fake", lambda path: Model(), Store(), Queue(), ServiceSettings(data=tmp_path), poll=False)
    answer = app.test_client().post("/ready", json={}, headers={"X-Labelloop-Secret": ""})
    assert answer.status_code == 403


# -- readiness and standby ---------------------------------------------------------------------------------------------


def test_ready_loads_a_standby_that_the_next_row_promotes(bench: Bench) -> None:
    bench.serve()
    path, digest = bench.artefact("v2")
    loads: list[str] = []
    bench.load = lambda folder: loads.append(folder.name) or Model()  # type: ignore[func-returns-value]
    body = {"project": PROJECT, "model_version": "fake-p3-v2", "path": path, "digest": digest}
    answer = bench.client.post("/ready", json=body, headers=SECRET)
    assert (answer.status_code, answer.get_json()["ready"]) == (200, True)
    assert bench.client.post("/setup", json={"project": "3.1"}).get_json() == {"model_version": "fake-p3-v1-r1"}
    bench.store.rows = [ServedRow(PROJECT, "fake", "fake-p3-v2", "fake-p3-v2-r1", path, digest, 2)]
    bench.models.poll()
    assert bench.client.post("/setup", json={"project": "3.1"}).get_json() == {"model_version": "fake-p3-v2-r1"}
    assert loads == [digest]


def test_ready_says_why_not(bench: Bench) -> None:
    bench.serve(5)
    path, digest = bench.artefact("v2")
    body = {"project": PROJECT, "model_version": "fake-p3-v2", "path": path, "digest": "0" * 64}
    answer = bench.client.post("/ready", json=body, headers=SECRET)
    assert answer.status_code == 503
    assert "was expected" in answer.get_json()["reason"]

    def explode(folder: Path) -> Any:
        raise RuntimeError("size mismatch for layer 3")

    bench.load = explode
    answer = bench.client.post("/ready", json={**body, "digest": digest}, headers=SECRET)
    assert (answer.status_code, answer.get_json()["ready"]) == (503, False)
    assert "RuntimeError" in answer.get_json()["reason"]
    assert bench.client.post("/ready", json={"project": 3}, headers=SECRET).status_code == 400
    assert reasons(bench.results(request_of(task(5)))) == ["ok"]


def test_readiness_follows_the_models_and_health_does_not(bench: Bench) -> None:
    assert bench.client.get("/readiness").status_code == 503
    bench.models.poll()
    assert bench.client.get("/readiness").status_code == 200

    def explode(folder: Path) -> Any:
        raise RuntimeError("weights")

    bench.load = explode
    bench.serve()
    answer = bench.client.get("/readiness")
    assert answer.status_code == 503
    assert "fake-p3-v1-r1" in answer.get_json()["reasons"][0]
    assert bench.client.get("/health").status_code == 200
