"""The part of Label Studio that an ingest talks to, over HTTP and in memory, so that it outlives the ingest and can fail."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NOW = "2026-01-01T00:00:00.000000Z"
Answer = tuple[int, Any]


@dataclass
class IngestRemote:
    """One project. `drops` names what an import request loses, as a real one does when its SQLite was locked."""

    maximum_annotations: int = 1
    model_version: str = ""
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    storages: list[dict[str, Any]] = field(default_factory=list)
    drops: set[str] = field(default_factory=set)
    refuses: Callable[[dict[str, Any]], bool] = lambda _row: False
    refuses_task: Callable[[dict[str, Any]], bool] = lambda _row: False
    writes: list[str] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    # -- what a request does ------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if method != "GET":
            self.writes.append(f"{method} {path}")
        if path == "/api/tasks/":
            return 200, self._listed(query)
        if path.endswith("/import"):
            if any(self.refuses_task(row) for row in body):
                return 400, {"detail": "Validation error", "validation_errors": {"non_field_errors": ["no such task"]}}
            return 201, self._imported(body)
        if path.endswith("/import/predictions"):
            return 201, {"created": self._predicted([row for row in body if not self.refuses(row)])}
        if path.endswith("/model-versions/"):
            return self._versions(method, body)
        if path == "/api/storages/localfiles/":
            if method == "POST":
                self.storages.append({"id": len(self.storages) + 1, **body})
            return 200, self.storages[-1] if method == "POST" else self.storages
        if found := re.fullmatch(r"/api/tasks/(\d+)/annotations/", path):
            return self._annotated(int(found[1]), body)
        if found := re.fullmatch(r"/api/tasks/(\d+)/", path):
            self.tasks[int(found[1])].update(body)
            return 200, self.tasks[int(found[1])]
        if found := re.fullmatch(r"/api/predictions/(\d+)/", path):
            return self._changed(method, int(found[1]), body)
        if re.fullmatch(r"/api/projects/\d+/", path):
            return 200, self._project(method, body)
        return 404, {"detail": f"{method} {path} is not served here"}

    def _project(self, method: str, body: Any) -> dict[str, Any]:
        if method == "PATCH":
            self.model_version = body.get("model_version", self.model_version)
            people = body.get("maximum_annotations", self.maximum_annotations)
            if people != self.maximum_annotations:  # touches the tasks that ask for several, or all where none does
                several = [task for task in self.tasks.values() if task["overlap"] > 1] or list(self.tasks.values())
                for task in several:
                    task["overlap"] = people
            self.maximum_annotations = people
        return {"id": 1, "maximum_annotations": self.maximum_annotations, "model_version": self.model_version}

    def _imported(self, body: list[dict[str, Any]]) -> dict[str, Any]:
        made = []
        counts = {"annotations": 0, "predictions": 0}
        for row in body:
            task_id = max(self.tasks, default=0) + 1
            made.append(task_id)
            task = {"id": task_id, "data": row["data"], "meta": row.get("meta", {})}
            self.tasks[task_id] = {**task, "overlap": self.maximum_annotations, "is_labeled": False}
            for kind in counts:
                rows = [] if kind in self.drops else row.get(kind, [])
                counts[kind] += len(rows)
                for each in rows:
                    if kind == "annotations":
                        self._add_annotation(task_id, each["result"], each.get("id"), None)
                    else:
                        self._predicted([{**each, "task": task_id}])
        told = {"annotation_count": counts["annotations"], "prediction_count": counts["predictions"]}
        return {"task_count": len(made), "task_ids": made, **told}

    def _add_annotation(self, task_id: int, result: Any, import_id: int | None, unique_id: str | None) -> None:
        number = len(self.annotations) + 1
        row = {"id": number, "task": task_id, "result": result, "import_id": import_id, "unique_id": unique_id}
        self.annotations.append(row)

    def _annotated(self, task_id: int, body: dict[str, Any]) -> Answer:
        unique = body.get("unique_id")
        if unique and any(row["unique_id"] == unique for row in self.annotations):
            return 409, {"detail": "Annotation with this unique id already exists"}
        self._add_annotation(task_id, body["result"], body.get("import_id"), unique)
        return 201, {"id": len(self.annotations)}

    def _predicted(self, rows: list[dict[str, Any]]) -> int:
        for row in rows:
            number = max((each["id"] for each in self.predictions), default=0) + 1
            self.predictions.append({"id": number, "created_at": NOW, **row})
        return len(rows)

    def _changed(self, method: str, number: int, body: Any) -> Answer:
        if method == "DELETE":
            self.predictions = [row for row in self.predictions if row["id"] != number]
            return 204, None
        next(row for row in self.predictions if row["id"] == number).update(body)
        return 200, {}

    def _versions(self, method: str, body: Any) -> Answer:
        if method == "DELETE":
            self.predictions = [row for row in self.predictions if row["model_version"] != body["model_version"]]
            return 204, None
        names = {row["model_version"] for row in self.predictions}
        counts = {name: sum(row["model_version"] == name for row in self.predictions) for name in names}
        return 200, {"static": [{"model_version": name, "count": count} for name, count in counts.items()]}

    # -- what it lists ------------------------------------------------------------------------------------------------

    def _listed(self, query: dict[str, str]) -> dict[str, Any]:
        asked = json.loads(query["query"])
        rows = [task for task in self.tasks.values() if all(_fits(task, each) for each in asked["filters"]["items"])]
        selected = asked.get("selectedItems")
        if selected and not selected["all"]:
            rows = [task for task in rows if task["id"] in selected["included"]]
        rows.sort(key=lambda task: int(task["id"]))
        return {"tasks": [self._whole(task) for task in rows[: int(query["page_size"])]], "total": len(rows)}

    def _whole(self, task: dict[str, Any]) -> dict[str, Any]:
        annotations = [
            {"created_at": NOW, "updated_at": NOW, **row} for row in self.annotations if row["task"] == task["id"]
        ]
        predictions = [row for row in self.predictions if row["task"] == task["id"]]
        times = {"created_at": NOW, "updated_at": NOW}
        return {**task, **times, "annotations": annotations, "predictions": predictions}

    # -- what a test asks ---------------------------------------------------------------------------------------------

    def of_version(self, version: str) -> dict[int, list[Any]]:
        """Results by task of one model version; a task has as many as it has predictions."""
        found: dict[int, list[Any]] = {}
        for row in self.predictions:
            if row["model_version"] == version:
                found.setdefault(row["task"], []).append(row["result"])
        return found

    def marks(self) -> list[str]:
        """The content hashes of all tasks, doubles and all."""
        return [task["meta"]["labelloop"]["content"] for task in self.tasks.values()]


def _fits(task: dict[str, Any], condition: dict[str, Any]) -> bool:
    operator, value = condition["operator"], condition["value"]
    if operator == "in":
        return bool(value["min"] <= task["id"] <= value["max"])
    return bool({"greater": task["id"] > int(value), "equal": task["id"] == int(value)}[operator])


class _Handler(BaseHTTPRequestHandler):
    remote: IngestRemote
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
        with self.remote.lock:
            status, said = self.remote.answer(method, parts.path, query, body)
            text = json.dumps(said).encode() if said is not None else b""
        with suppress(ConnectionError):  # who asked may be dead
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)


@contextmanager
def ingest_remote(remote: IngestRemote | None = None) -> Iterator[IngestRemote]:
    """That server, while the block lasts."""
    remote = remote or IngestRemote()
    handler = type("Handler", (_Handler,), {"remote": remote})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    remote.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield remote
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
