"""Against a stock Label Studio: what it holds of a serving id is read exactly, and brought to one prediction per task."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from labelloop.label_studio import LabelStudio
from sync.pushing import settle

pytestmark = pytest.mark.e2e

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sea"/><Choice value="land"/></Choices></View>'
)
END = 2**31 - 1


def choice(label: str) -> list[dict[str, Any]]:
    value = {"choices": [label]}
    return [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": value, "score": 0.7182818}]


@pytest.fixture
def client(label_studio: Any) -> Iterator[LabelStudio]:
    with LabelStudio(label_studio.url, label_studio.token) as made:
        yield made


@pytest.fixture
def project(client: LabelStudio) -> int:
    return int(client.create_project("Held", CONFIG)["id"])


def rows_of(task_ids: list[int], label: str = "sea") -> list[dict[str, Any]]:
    return [{"task_id": t, "order_key": (n + 1) / 9, "result": choice(label)} for n, t in enumerate(task_ids)]


def settled(client: LabelStudio, project: int, serving_id: str, rows: list[dict[str, Any]], refused: Any = None) -> int:
    refuse = refused.extend if refused is not None else lambda _ids: None
    span = (min(row["task_id"] for row in rows), END)
    return settle(client, project, serving_id, rows, span, lambda: None, refuse)


def test_a_serving_id_that_begins_like_another_is_told_apart(client: LabelStudio, project: int) -> None:
    ids = client.import_tasks(project, [{"data": {"text": f"t {n}"}} for n in range(6)])
    assert settled(client, project, "m-v1-r1", rows_of(ids[:4])) == 4
    assert settled(client, project, "m-v1-r10", rows_of(ids[2:])) == 4
    assert client.tasks_holding(project, "m-v1-r1") == set(ids[:4])
    assert client.tasks_holding(project, "m-v1-r10") == set(ids[2:])
    held = client.predictions_held(project, "m-v1-r1", ids[1], ids[4])
    assert {task: len(rows) for task, rows in held.items()} == {ids[1]: 1, ids[2]: 1, ids[3]: 1, ids[4]: 0}
    assert settled(client, project, "m-v1-r1", rows_of(ids[:4])) == 0  # what comes back is what was sent


def test_l13_doubles_and_other_words_are_put_right_and_a_held_task_can_be_submitted(
    client: LabelStudio, project: int
) -> None:
    ids = client.import_tasks(project, [{"data": {"text": f"t {n}"}} for n in range(4)])
    empty = [{"task": task, "result": [], "score": 0.5, "model_version": "m-v1-r1"} for task in ids[:2]]
    client.push_predictions(project, [*empty, empty[0]])
    client.set_model_version(project, "m-v1-r1")
    oldest = {task: client.predictions_held(project, "m-v1-r1", task, task)[task][0].prediction_id for task in ids[:2]}
    rows = rows_of(ids)
    assert settled(client, project, "m-v1-r1", rows) == 5  # two changed, one deleted, two pushed
    held = client.predictions_held(project, "m-v1-r1", ids[0], END)
    assert {task: [(p.score, p.result) for p in found] for task, found in held.items()} == {
        row["task_id"]: [(row["order_key"], row["result"])] for row in rows
    }
    for task, prediction in oldest.items():
        assert held[task][0].prediction_id == prediction
        body = {"result": choice("sea"), "lead_time": 1.0, "parent_prediction": prediction}
        made = client.request("POST", f"/api/tasks/{task}/annotations/", params={"project": project}, json=body)
        assert made["parent_prediction"] == prediction


def test_regions_that_the_config_refuses_cost_no_other_its_prediction(client: LabelStudio, project: int) -> None:
    ids = client.import_tasks(project, [{"data": {"text": f"t {n}"}} for n in range(8)])
    rows = rows_of(ids)
    rows[3]["result"] = choice("unheard of")
    refused: list[int] = []
    settled(client, project, "m-v1-r1", rows, refused)
    held = client.predictions_held(project, "m-v1-r1", ids[0], END)
    assert refused == [ids[3]]
    assert [len(held[task]) for task in ids] == [1] * 8
    assert [bool(held[task][0].result) for task in ids] == [task != ids[3] for task in ids]


class _Live(BaseHTTPRequestHandler):
    """A backend that has time for every second task."""

    def do_GET(self) -> None:
        self._say({"status": "UP"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        if self.path.startswith("/setup"):
            self._say({"model_version": "m-v1-r1"})
        else:
            full = {"result": choice("sea"), "score": 0.3, "model_version": "m-v1-r1"}
            self._say({"results": [full if task["id"] % 2 else [] for task in body.get("tasks", [])]})

    def _say(self, said: Any) -> None:
        text = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None: ...


def test_what_a_live_request_had_no_time_for_is_stored_nowhere_and_completed_once(
    client: LabelStudio, project: int
) -> None:
    """An empty list in the place of an answer: Label Studio stores nothing and asks again; ours then comes in bulk."""
    ids = client.import_tasks(project, [{"data": {"text": f"t {n}"}} for n in range(6)])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Live)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client.ensure_ml_backend(project, f"http://127.0.0.1:{server.server_port}", "live")
        action = {"id": "retrieve_tasks_predictions", "project": project}
        selected = {"selectedItems": {"all": True, "excluded": []}}
        client.request("POST", "/api/dm/actions/", params=action, json=selected, timeout_s=120)
    finally:
        server.shutdown()
        server.server_close()
    answered = {task for task in ids if task % 2}
    assert client.tasks_holding(project, "m-v1-r1") == answered
    settled(client, project, "m-v1-r1", rows_of(ids, "land"))
    held = client.predictions_held(project, "m-v1-r1", ids[0], END)
    assert [[p.result for p in held[task]] for task in ids] == [[choice("land")]] * 6
