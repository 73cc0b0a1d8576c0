"""Bulk imports: requests of bounded size, and what the server dropped without a word found by its counts and sent again."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from labelloop.errors import ServiceError
from labelloop.label_studio import LabelStudio, imports

NOW = "2026-01-01T00:00:00.000000Z"


class Server:
    """Label Studio's import, which drops what `drops` names of the rows that it says."""

    def __init__(self) -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.drops: dict[str, set[int]] = {"annotations": set(), "predictions": set()}
        self.requests: list[tuple[str, int]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path
        self.requests.append((f"{request.method} {path}", len(body) if isinstance(body, list) else 0))
        if path == "/api/projects/1/import":
            return self._import(body)
        if path == "/api/projects/1/import/predictions":
            for row in body:
                self.tasks[row["task"]]["predictions"].append({**row, "id": 900 + row["task"]})
            return httpx.Response(201, json={"created": len(body)})
        if path.endswith("/annotations/"):
            task = self.tasks[int(path.split("/")[3])]
            if any(row.get("unique_id") == body.get("unique_id", "") for row in task["annotations"]):
                return httpx.Response(409, json={"detail": "Annotation with this unique id already exists"})
            task["annotations"].append({"id": 500, "created_at": NOW, "updated_at": NOW, **body})
            return httpx.Response(201, json={"id": 500})
        return httpx.Response(200, json={"tasks": self._listed(request), "total": len(self.tasks)})

    def _import(self, body: list[dict[str, Any]]) -> httpx.Response:
        ids, counts = [], {"annotations": 0, "predictions": 0}
        for place, row in enumerate(body):
            task_id = len(self.tasks) + 1
            ids.append(task_id)
            task: dict[str, Any] = {"id": task_id, "overlap": 1, "created_at": NOW, "updated_at": NOW}
            for kind in counts:
                kept = [] if place in self.drops[kind] else row.get(kind, [])
                counts[kind] += len(kept)
                task[kind] = [
                    {"created_at": NOW, "updated_at": NOW, "import_id": r.get("id"), "id": 1, **r} for r in kept
                ]
            self.tasks[task_id] = task
        told = {f"{kind.removesuffix('s')}_count": count for kind, count in counts.items()}
        return httpx.Response(201, json={"task_ids": ids, **told})

    def _listed(self, request: httpx.Request) -> list[dict[str, Any]]:
        query = json.loads(request.url.params["query"])
        chosen = query.get("selectedItems", {}).get("included")
        bound = [f["value"] for f in query["filters"]["items"]]
        after = max([0, *(int(each) for each in bound if not isinstance(each, dict))])
        found = [t for t in self.tasks.values() if t["id"] > after and (chosen is None or t["id"] in chosen)]
        return found[: int(request.url.params["page_size"])]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> LabelStudio:
    return LabelStudio("http://ls.test", "t", transport=httpx.MockTransport(server))


def rows(count: int) -> list[dict[str, Any]]:
    region = {"type": "choices", "value": {"choices": ["a"]}}
    return [
        {
            "data": {"n": n},
            "annotations": [{"id": 70 + n, "result": [region]}],
            "predictions": [{"model_version": "v", "score": 0.5, "result": [region]}],
        }
        for n in range(count)
    ]


def test_what_arrived_whole_is_not_asked_about(server: Server, client: LabelStudio) -> None:
    resent: list[int] = []
    assert client.import_tasks(1, rows(3), resent=resent.append) == [1, 2, 3]
    assert [said for said, _ in server.requests] == ["POST /api/projects/1/import"] and resent == []


@pytest.mark.parametrize(
    ("annotations", "predictions"), [(set(), {0, 1, 2, 3}), ({0, 1, 2, 3}, set()), ({1}, {0, 3}), ({0, 1, 2, 3},) * 2]
)
def test_what_was_dropped_is_sent_again_and_nothing_twice(
    server: Server, client: LabelStudio, annotations: set[int], predictions: set[int]
) -> None:
    server.drops = {"annotations": annotations, "predictions": predictions}
    resent: list[int] = []
    client.import_tasks(1, rows(4), resent=resent.append)
    assert [len(task["annotations"]) for task in server.tasks.values()] == [1] * 4
    assert [len(task["predictions"]) for task in server.tasks.values()] == [1] * 4
    assert [task["annotations"][0]["import_id"] for task in server.tasks.values()] == [70, 71, 72, 73]
    assert resent == [len(annotations) + len(predictions)]


def test_an_annotation_that_is_there_already_is_left_alone(server: Server, client: LabelStudio) -> None:
    client.import_tasks(1, [{"data": {}}])
    annotation = {"id": 5, "result": [], "unique_id": "u"}
    client.add_annotation(1, annotation)
    client.add_annotation(1, annotation)
    assert [row["import_id"] for row in server.tasks[1]["annotations"]] == [5]
    with pytest.raises(ServiceError):
        LabelStudio("http://ls.test", "t", transport=httpx.MockTransport(lambda _: httpx.Response(400))).add_annotation(
            1, annotation
        )


def test_requests_stay_small_in_number_and_in_bytes(
    server: Server, client: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "IMPORT_CHUNK", 3)
    monkeypatch.setattr(imports, "IMPORT_BYTES", 1000)
    done: list[int] = []
    long = [{"data": {"text": "x" * 600}} for _ in range(2)]
    assert client.import_tasks(1, [*rows(0), *({"data": {}} for _ in range(4)), *long], done.append) == list(
        range(1, 7)
    )
    assert [size for _, size in server.requests] == [3, 2, 1] and done == [3, 5, 6]
