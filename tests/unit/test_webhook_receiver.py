"""The webhook receiver and its hints, on bodies as stock Label Studio 1.23.2 sends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from labelloop.errors import SettingsError
from labelloop.hints import HintSender, QueueOpenedLater, project_of
from labelloop.settings import ServiceSettings
from sync import receiver

SECRET = {"X-Labelloop-Secret": "s3cr3t"}
SETTINGS = ServiceSettings.model_validate({"webhook_secret": "s3cr3t"})
PROJECT = {"id": 3, "title": "txt", "token": "ANHcOZKH3bCVD1IW7yDNKR4T14GIFwAyehroQpcq", "task_number": 7}
ANNOTATION = {
    "id": 1, "was_cancelled": False, "ground_truth": False, "lead_time": 12.5, "task": 1, "project": 3,
    "completed_by": 1, "updated_at": "2026-11-21T03:55:23.014622Z",
}  # fmt: skip


class Redis:
    """A queue that notes its calls, can be down, and can be made to hang."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.down = False
        self.open = threading.Event()
        self.open.set()
        self.called = threading.Condition()

    def _call(self, name: str, project_id: int) -> int:
        self.open.wait(10)
        if self.down:
            raise ConnectionError("redis is gone")
        with self.called:
            self.calls.append((name, project_id))
            self.called.notify_all()
        return len(self.calls)

    def mark_dirty(self, project_id: int) -> int:
        return self._call("dirty", project_id)

    def request_reconcile(self, project_id: int) -> int:
        return self._call("reconcile", project_id)

    def request_training(self, project_id: int) -> int:
        return self._call("train", project_id)

    def request_predictions(self, project_id: int) -> int:
        return self._call("predict", project_id)

    def wait_for(self, count: int) -> list[tuple[str, int]]:
        with self.called:
            assert self.called.wait_for(lambda: len(self.calls) >= count, timeout=10), self.calls
            return list(self.calls)


def until(condition: Callable[[], bool]) -> None:
    gate = threading.Event()
    for _ in range(1000):
        if condition():
            return
        gate.wait(0.01)
    raise AssertionError("did not happen within 10 s")


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def client(redis: Redis) -> Iterator[FlaskClient]:
    app = receiver.create_receiver(redis, SETTINGS)
    with app.test_client() as found:
        yield found
    redis.open.set()
    app.extensions["hints"].close()


def hints(client: FlaskClient) -> HintSender:
    sender = client.application.extensions["hints"]
    assert isinstance(sender, HintSender)
    return sender


@pytest.mark.parametrize(
    "body",
    [
        {"action": "ANNOTATION_CREATED", "annotation": ANNOTATION, "project": PROJECT, "task": {"id": 1}},
        {"action": "ANNOTATION_UPDATED", "annotation": ANNOTATION, "project": PROJECT, "task": {"id": 1}},
        {"action": "ANNOTATIONS_CREATED", "annotation": [ANNOTATION], "project": PROJECT, "task": [{"id": 1}]},
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 3}], "project": PROJECT},
        {"action": "ANNOTATION_DELETED", "annotation": {"id": 3}, "project": PROJECT},
        {"action": "TASKS_CREATED", "tasks": [{"id": 9, "data": {"text": "x"}}], "project": PROJECT},
        {"action": "TASK_CREATED", "project": PROJECT},
        {"action": "TASKS_DELETED", "tasks": [{"id": 9}], "project": PROJECT},
        {"action": "PROJECT_UPDATED", "project": PROJECT},
        {"action": "ANNOTATION_CREATED"},
        {"action": "SOMETHING_NEW", "project": PROJECT},
    ],
)
def test_every_event_singular_plural_or_unknown_is_a_hint(client: FlaskClient, redis: Redis, body: Any) -> None:
    answer = client.post("/hooks/label-studio/3", json=body, headers=SECRET)
    assert answer.status_code == 202
    assert redis.wait_for(2) == [("dirty", 3), ("reconcile", 3)]
    counted = body["action"] if body["action"] != "SOMETHING_NEW" else "unknown"
    assert f'labelloop_webhook_events_total{{action="{counted}",project="3"}} 1.0' in client.get("/metrics").text


def test_b2_start_training_has_neither_task_nor_annotation(client: FlaskClient, redis: Redis) -> None:
    body = {"action": "START_TRAINING", "project": PROJECT}
    assert client.post("/hooks/label-studio/3", json=body, headers=SECRET).status_code == 202
    assert redis.wait_for(1) == [("train", 3)]


@pytest.mark.parametrize(
    "headers", [{}, {"X-Labelloop-Secret": "s3cr3"}, {"X-Labelloop-Secret": "ß"}, {"X-Secret": "s3cr3t"}]
)
def test_l10_without_the_secret_nothing_happens(client: FlaskClient, redis: Redis, headers: dict[str, str]) -> None:
    answer = client.post("/hooks/label-studio/3", json={"action": "TASKS_CREATED"}, headers=headers)
    assert answer.status_code == 401
    assert "s3cr3t" not in answer.text
    assert hints(client).waiting == 0 and redis.calls == []
    assert 'labelloop_webhook_refused_total{why="secret"} 1.0' in client.get("/metrics").text


def test_without_a_configured_secret_there_is_no_receiver() -> None:
    with pytest.raises(SettingsError, match="LABELLOOP_WEBHOOK_SECRET"):
        receiver.create_receiver(Redis(), ServiceSettings())


def test_with_redis_down_it_is_202_counted_and_given_again_later(client: FlaskClient, redis: Redis) -> None:
    hints(client)._retry_s = 0.01
    redis.down = True
    for _ in range(3):
        answer = client.post("/hooks/label-studio/3", json={"action": "TASKS_CREATED"}, headers=SECRET)
        assert answer.status_code == 202
    until(lambda: hints(client).failed > 0)
    assert client.get("/health").get_json()["hints"]["failed"] > 0
    assert "labelloop_hints_failed 0.0" not in client.get("/metrics").text
    redis.down = False
    assert redis.wait_for(2)[:2] == [("dirty", 3), ("reconcile", 3)]
    until(lambda: hints(client).waiting == 0)


def test_l9_a_hanging_redis_holds_no_annotator(client: FlaskClient, redis: Redis) -> None:
    redis.open.clear()
    for _ in range(200):
        answer = client.post("/hooks/label-studio/3", json={"action": "ANNOTATION_CREATED"}, headers=SECRET)
        assert answer.status_code == 202
    assert redis.calls == []
    redis.open.set()
    # 200 events are one hint, or two where the first was already on its way
    redis.wait_for(2)
    until(lambda: hints(client).waiting == 0)
    assert len(redis.calls) <= 4


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"event": 1}', b'{"action": 7}', b"\xff\xfe"])
def test_what_is_no_event_is_a_400_and_no_hint(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/hooks/label-studio/3", data=body, headers=SECRET)
    assert answer.status_code == 400
    assert "action" in answer.get_json()["error"]
    assert hints(client).waiting == hints(client).delivered == 0


def test_an_oversized_body_is_413_and_still_a_hint(client: FlaskClient, redis: Redis) -> None:
    client.application.config["MAX_CONTENT_LENGTH"] = 1000
    body = {"action": "ANNOTATION_CREATED", "annotation": {"result": ["x" * 2000]}}
    assert client.post("/hooks/label-studio/3", json=body, headers=SECRET).status_code == 413
    assert redis.wait_for(2) == [("dirty", 3), ("reconcile", 3)]
    assert client.post("/hooks/label-studio/4", json=body).status_code == 401
    assert ("dirty", 4) not in redis.calls


@pytest.mark.parametrize(
    "path", ["/hooks/label-studio/x", "/hooks/label-studio/-1", "/hooks/label-studio/", "/nothing"]
)
def test_unknown_addresses_are_json_404(client: FlaskClient, path: str) -> None:
    answer = client.post(path, json={"action": "TASKS_CREATED"}, headers=SECRET)
    assert answer.status_code == 404
    assert "error" in answer.get_json()


def test_health_needs_nothing(client: FlaskClient, redis: Redis) -> None:
    redis.down = True
    assert client.get("/health").get_json()["status"] == "UP"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3), ("3", 3), ("3.1795233319", 3), ({"id": 3, "title": "x"}, 3), (None, None), ("", None), (True, None),
        ("x.1", None), ("²", None), ({"id": None}, None), (3.5, None), ("9" * 40, None), ([3], None),
    ],
)  # fmt: skip
def test_project_ids_as_label_studio_writes_them(value: Any, expected: int | None) -> None:
    assert project_of(value) == expected


def test_a_queue_that_cannot_be_opened_is_opened_at_a_later_hint(redis: Redis) -> None:
    tries: list[int] = []

    def open_queue() -> Redis:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("store is gone")
        return redis

    sender = HintSender(QueueOpenedLater(open_queue), retry_s=0.01)
    sender.give("reconcile", 5)
    assert redis.wait_for(2) == [("dirty", 5), ("reconcile", 5)]
    until(lambda: sender.delivered == 1)
    sender.close()
    assert sender.failed == 2
