"""The Label Studio in memory behind HTTP, for workers that are processes of their own; a request can be held half-way."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fake_label_studio import FakeLabelStudio

from labelloop.label_studio.rows import AnnotationRow, TaskRow, moment, wire_moment


class Gate:
    """Holds the next bulk push: `share` of its rows are stored when it is let go, and no answer is sent."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.reached, self.open = threading.Event(), threading.Event()


class LabelStudioOverHttp:
    """Serves the calls that mirror, promotion and prelabelling make, in Label Studio's own shapes."""

    def __init__(self, fake: FakeLabelStudio) -> None:
        self.fake = fake
        self.lock = threading.Lock()
        self.gate: Gate | None = None
        self.drop: Callable[[dict[str, Any]], bool] = lambda _row: False
        self.pushes: list[int] = []
        handler = type("Handler", (_Handler,), {"owner": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def held(self) -> dict[int, list[dict[str, Any]]]:
        """Predictions of what the project serves, by task."""
        with self.lock:
            found: dict[int, list[dict[str, Any]]] = {task: [] for task in self.fake.tasks}
            for row in self.fake.predictions:
                if row["model_version"] == self.fake.model_version:
                    found[row["task"]].append(row)
            return found


@contextmanager
def over_http(fake: FakeLabelStudio) -> Iterator[LabelStudioOverHttp]:
    """That server, while the block lasts."""
    made = LabelStudioOverHttp(fake)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        if made.gate is not None:
            made.gate.open.set()
        made.server.shutdown()
        made.server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: LabelStudioOverHttp
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        gate = self.owner.gate
        if method == "POST" and parts.path.endswith("/import/predictions") and gate is not None and body:
            self.owner.gate = None
            gate.reached.set()
            gate.open.wait(120)
            with self.owner.lock:
                self.owner.fake.push_predictions(1, body[: round(len(body) * gate.share)])
            self.close_connection = True
            return
        with self.owner.lock:
            status, said = _route(self.owner, method, parts.path, query, body)
        text = json.dumps(said).encode() if said is not None else b""
        with suppress(ConnectionError):  # who asked may be dead
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)


def _route(owner: LabelStudioOverHttp, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
    fake = owner.fake
    if path == "/api/tasks/":
        return 200, _tasks(fake, query)
    if path.endswith("/import/predictions"):
        owner.pushes.append(len(body))
        return 201, {"created": fake.push_predictions(1, [row for row in body if not owner.drop(row)])}
    if path.endswith("/model-versions/"):
        if method == "DELETE":
            fake.delete_model_version(1, body["model_version"])
            return 204, None
        return 200, {"static": [{"model_version": v, "count": n} for v, n in fake.by_version().items()]}
    if found := re.fullmatch(r"/api/predictions/(\d+)/", path):
        if method == "DELETE":
            fake.delete_prediction(int(found[1]))
            return 204, None
        fake.update_prediction(int(found[1]), body["result"], body["score"])
        return 200, {}
    if re.fullmatch(r"/api/projects/\d+/", path):
        if method == "PATCH":
            fake.set_model_version(1, body["model_version"])
        return 200, fake.get_project(1)
    return 404, {"detail": f"{method} {path} is not served here"}


def _tasks(fake: FakeLabelStudio, query: dict[str, str]) -> dict[str, Any]:
    asked = json.loads(query["query"])
    rows = [task for task in fake.tasks.values() if all(_fits(task, each) for each in asked["filters"]["items"])]
    selected = asked.get("selectedItems")
    if selected and not selected["all"]:
        rows = [task for task in rows if task.task_id in selected["included"]]
    (ordering,) = asked["ordering"]
    by_time = ordering.endswith("tasks:updated_at")
    rows.sort(
        key=lambda task: (task.updated_at, task.task_id) if by_time else (task.task_id,),
        reverse=ordering.startswith("-"),
    )
    return {"tasks": [_raw(fake, task) for task in rows[: int(query["page_size"])]], "total": len(rows)}


def _fits(task: TaskRow, condition: dict[str, Any]) -> bool:
    column, operator, value = condition["filter"].rpartition(":")[2], condition["operator"], condition["value"]
    own: Any = task.task_id if column == "id" else task.updated_at
    if operator == "in":
        return bool(value["min"] <= own <= value["max"])
    other: Any = int(value) if column == "id" else moment(value)
    return bool({"greater": own > other, "greater_or_equal": own >= other, "equal": own == other}[operator])


def _raw(fake: FakeLabelStudio, task: TaskRow) -> dict[str, Any]:
    predictions = [row for row in fake.predictions if row["task"] == task.task_id]
    return {
        "id": task.task_id,
        "data": dict(task.data),
        "meta": dict(task.meta),
        "overlap": task.overlap,
        "is_labeled": task.is_labeled,
        "created_at": wire_moment(task.created_at),
        "updated_at": wire_moment(task.updated_at),
        "annotations": [_annotation(row) for row in task.annotations],
        "total_annotations": sum(not row.was_cancelled for row in task.annotations),
        "cancelled_annotations": sum(row.was_cancelled for row in task.annotations),
        "annotations_ids": ",".join(str(row.annotation_id) for row in task.annotations),
        "predictions": [dict(row) for row in predictions],
        "predictions_model_versions": ",".join(sorted({row["model_version"] for row in predictions})),
    }


def _annotation(row: AnnotationRow) -> dict[str, Any]:
    return {
        "id": row.annotation_id,
        "result": row.result,
        "completed_by": row.person_id,
        "was_cancelled": row.was_cancelled,
        "ground_truth": row.ground_truth,
        "created_at": wire_moment(row.created_at),
        "updated_at": wire_moment(row.updated_at),
        "lead_time": row.lead_time_s,
        "parent_prediction": row.parent_prediction,
    }
