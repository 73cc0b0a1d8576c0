"""A backend on what stock Label Studio 1.23.2 sends, request for request, and what it makes of the answers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backend_bench import (
    IMAGE_CONFIG,
    PROJECT,
    TEXT_CONFIG,
    Asking,
    Bench,
    HeldModel,
    reasons,
    request_of,
    span,
    task,
    until,
)

from backends import server
from labelloop.settings import ServiceSettings
from labelloop.values import Outcome, TaskItem
from sync.receiver import create_receiver

#: What Label Studio's ML client sends with every request, here with the login "u", "p".
HEADERS = {
    "User-Agent": "heartex/1.23.2+0.gdf96d79.dirty",
    "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*",
    "Connection": "keep-alive",
    "Authorization": "Basic dTpw",
}
SETUP = {
    "project": "3.1795233319",
    "schema": TEXT_CONFIG,
    "hostname": "http://127.0.0.1:8091",
    "access_token": "0123456789abcdef0123456789abcdef01234567",
    "extra_params": {"a": 1},
}
ANNOTATION = {
    "id": 12, "result": [], "was_cancelled": False, "ground_truth": False, "lead_time": 3.2, "completed_by": 1,
    "updated_by": 1, "task": 5, "project": PROJECT, "parent_prediction": None, "unique_id": "b8a0", "prediction": {},
}  # fmt: skip
FULL_PROJECT = {"id": PROJECT, "title": "txt", "label_config": TEXT_CONFIG, "model_version": "v1", "token": "ANHcOZ"}
EVENTS: list[dict[str, Any]] = [
    {"action": "ANNOTATION_CREATED", "annotation": ANNOTATION, "project": FULL_PROJECT, "task": task(5)},
    {"action": "ANNOTATION_UPDATED", "annotation": ANNOTATION, "project": FULL_PROJECT, "task": task(5)},
    {"action": "ANNOTATIONS_CREATED", "annotation": [ANNOTATION], "project": FULL_PROJECT, "task": [task(5)]},
    {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 12}], "project": FULL_PROJECT},
    {"action": "TASKS_CREATED", "tasks": [task(5)], "project": FULL_PROJECT},
    {"action": "TASKS_DELETED", "tasks": [{"id": 5}], "project": FULL_PROJECT},
    {"action": "PROJECT_UPDATED", "project": FULL_PROJECT},
]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path, backend_user="u", backend_password="p")
    found.serve(*range(1, 400))
    yield found
    found.close()


def asked(bench: Bench, method: str, path: str, body: Any = None, headers: Mapping[str, str] = HEADERS) -> Any:
    """What one request of Label Studio is answered."""
    return bench.app.test_client().open(path, method=method, headers=dict(headers), json=body)


def test_what_connecting_a_backend_asks(bench: Bench) -> None:
    for _ in range(2):
        assert asked(bench, "GET", "/health").get_json()["status"] == "UP"
        assert asked(bench, "POST", "/setup", SETUP).get_json() == {"model_version": "fake-p3-v1-r1"}
    images = {**SETUP, "project": "2.1795233319", "schema": IMAGE_CONFIG, "extra_params": None}
    assert asked(bench, "POST", "/setup", images).get_json() == {"model_version": "fake-none"}
    assert asked(bench, "GET", "/versions").get_json() == {"versions": ["fake-p3-v1-r1"]}


def test_opening_a_task_asks_health_setup_and_one_prediction(bench: Bench) -> None:
    assert asked(bench, "GET", "/health").status_code == 200
    version = asked(bench, "POST", "/setup", SETUP).get_json()["model_version"]
    body = asked(bench, "POST", "/predict", request_of(task(2))).get_json()
    assert body["results"] == [{"result": [span()], "score": 0.02, "model_version": version, "reason": "ok"}]


def test_l7_all_selected_tasks_come_in_one_request(bench: Bench) -> None:
    answer = asked(bench, "POST", "/predict", request_of(*[task(n) for n in range(1, 301)]))
    results = answer.get_json()["results"]
    assert reasons(results) == ["ok"] * 300
    assert [result["score"] for result in results] == [n / 100 if n <= 100 else 1.0 for n in range(1, 301)]
    assert bench.store.asked == 1, "one query for all of them"


@pytest.mark.parametrize("count", [0, 1, 2, 31])
def test_l8_n_tasks_get_n_results(bench: Bench, count: int) -> None:
    def outcome(item: TaskItem) -> Outcome:
        if item.task_id in (1, 7):
            raise RuntimeError("no")
        return Outcome("text_missing") if item.task_id == 3 else Outcome()

    bench.model.outcome = outcome
    ids = [*range(1, count - 1), 9999, 1][:count]  # one that the store does not know, and one twice
    answer = asked(bench, "POST", "/predict", request_of(*[task(n) for n in ids])).get_json()
    assert len(answer["results"]) == len(answer["reasons"]) == count
    assert all(set(entry) == {"result", "score", "model_version", "reason"} for entry in answer["results"])
    assert all(isinstance(entry["score"], float) for entry in answer["results"]), "a null would be served first"


def test_an_interactive_request_is_answered_with_one_result(bench: Bench) -> None:
    region = {"id": "a", "type": "labels", "from_name": "label", "to_name": "text",
              "value": {"start": 0, "end": 3, "labels": ["PER"]}}  # fmt: skip
    interactive = {**task(9), "drafts": [], "allow_skip": True}
    body = request_of(interactive, context={"result": [region]})
    [result] = asked(bench, "POST", "/predict", body).get_json()["results"]
    assert result["result"] == [span()]


def test_l9_events_are_acknowledged_without_waiting_for_redis_or_a_model(bench: Bench) -> None:
    stuck = threading.Event()
    bench.queue.mark_dirty = lambda project_id: stuck.wait(60)  # type: ignore[method-assign, assignment]
    for event in EVENTS:
        answer = asked(bench, "POST", "/webhook", event)
        assert (answer.status_code, answer.get_json()) == (202, {"accepted": True}), event["action"]
    stuck.set()


def test_l10_the_automatic_webhook_sends_every_event_without_credentials(bench: Bench) -> None:
    plain = {"User-Agent": "python-requests/2.32", "Accept": "*/*"}
    for event in EVENTS:
        assert asked(bench, "POST", "/webhook", event, plain).status_code == 202, event["action"]
    assert set(bench.queue.wait_for(2)) == {("dirty", 3), ("reconcile", 3)}
    elsewhere = {**EVENTS[0], "project": {**FULL_PROJECT, "id": 77}}
    assert asked(bench, "POST", "/webhook", elsewhere, plain).get_json() == {"accepted": False}


def test_start_training_and_our_own_webhook_ask_for_the_same_job(bench: Bench, tmp_path: Path) -> None:
    start = {"action": "START_TRAINING", "project": FULL_PROJECT}
    assert asked(bench, "POST", "/webhook", start).status_code == 202
    ours = Bench(tmp_path / "ours").queue
    settings = ServiceSettings.model_validate({"data": tmp_path, "webhook_secret": "s3cr3t"})
    receiver = create_receiver(ours, settings)
    posted = receiver.test_client().post(
        f"/hooks/label-studio/{PROJECT}", json=start, headers={"X-Labelloop-Secret": "s3cr3t"}
    )
    assert posted.status_code == 202
    assert bench.queue.wait_for(1) == ours.wait_for(1) == [("train", 3)]
    receiver.extensions["hints"].close()


def test_l11_only_regions_that_fit_the_config_leave(bench: Bench) -> None:
    bad = [
        span("zzz"), {**span(), "from_name": "other"}, {**span(), "to_name": "other"}, {**span(), "type": "choices"},
        {**span(), "value": {}}, {**span(), "score": None}, {**span(), "score": float("nan")}, {"id": "x"},
        span(start=float("inf")),
    ]  # fmt: skip
    bench.model.outcome = lambda item: Outcome(regions=(*bad, span("ORG")) if item.task_id == 1 else tuple(bad))
    some, none = asked(bench, "POST", "/predict", request_of(task(1), task(2))).get_json()["results"]
    assert [region["value"]["labels"] for region in some["result"]] == [["ORG"]]
    assert (none["result"], none["reason"]) == ([], "class_not_in_config")


def test_half_a_surrogate_pair_in_a_text_comes_back_as_it_was(bench: Bench) -> None:
    bench.model.outcome = lambda item: Outcome(regions=(span(text=item.data["text"]),))
    raw = b'{"tasks": [{"id": 1, "data": {"text": "a\\ud83d", "n": NaN}}], "project": "3.1", "label_config": "%s"}'
    body = raw.replace(b"%s", TEXT_CONFIG.replace('"', '\\"').encode())
    answer = bench.client.post("/predict", data=body, headers=HEADERS)
    assert answer.get_json()["results"][0]["result"][0]["value"]["text"] == "a\ud83d"


def test_health_and_setup_answer_while_every_prediction_is_busy(bench: Bench) -> None:
    held = HeldModel()
    bench.model = held
    bench.serve(1, name="v2", generation=2)
    askings = [
        Asking(lambda: asked(bench, "POST", "/predict", request_of(task(1))).status_code)
        for _ in range(server.MAX_PREDICTING)
    ]
    held.wait_inside()
    until(lambda: asked(bench, "POST", "/predict", request_of(task(1))).status_code == 503)
    assert asked(bench, "GET", "/health").status_code == 200
    assert asked(bench, "POST", "/setup", SETUP).get_json() == {"model_version": "fake-p3-v2-r1"}
    held.release()
    assert [asking.result() for asking in askings] == [200] * server.MAX_PREDICTING
    assert asked(bench, "POST", "/predict", request_of(task(1))).status_code == 200
    assert "labelloop_busy_total 1" in bench.client.get("/metrics", headers=HEADERS).text
