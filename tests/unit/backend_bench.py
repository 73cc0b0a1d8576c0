"""A backend app with everything around it in memory: store, model, queue, media; and requests as Label Studio sends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from backends import server
from backends.serving import ServedModels, ServedRow
from backends.version_labels import ControlLabels, write_labels
from labelloop.artefacts import write_digest
from labelloop.errors import MediaError
from labelloop.settings import ServiceSettings
from labelloop.store import Place
from labelloop.values import Outcome, TaskItem

TEXT_CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
IMAGE_CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="Cat"/>'
    '<Label value="Dog"/></RectangleLabels></View>'
)
PROJECT = 3
SECRET = {"X-Labelloop-Secret": "s3cr3t"}
#: Long enough for a machine that does much else; what is awaited comes at once.
PATIENCE_S = 60


def task(task_id: int, **data: Any) -> dict[str, Any]:
    """A task as /predict carries it."""
    return {
        "id": task_id, "data": data or {"text": f"John Smith {task_id} works at Acme", "priority": task_id}, "meta": {},
        "created_at": "2026-11-21T03:55:19.952267Z", "updated_at": "2026-11-21T03:55:19.952277Z", "is_labeled": False,
        "overlap": 1, "inner_id": task_id, "total_annotations": 0, "cancelled_annotations": 0, "total_predictions": 0,
        "comment_count": 0, "unresolved_comment_count": 0, "last_comment_updated_at": None, "project": PROJECT,
        "updated_by": None, "file_upload": None, "comment_authors": [], "annotations": [], "predictions": [],
    }  # fmt: skip


def request_of(*tasks: dict[str, Any], config: str = TEXT_CONFIG, context: Any = None) -> dict[str, Any]:
    """A /predict body."""
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": f"{PROJECT}.1795233319", "label_config": config, "params": params}


def span(label: str = "PER", score: float = 0.9, **value: Any) -> dict[str, Any]:
    """A region as a model gives it."""
    return {
        "id": f"{label}{score}", "from_name": "label", "to_name": "text", "type": "labels", "score": score,
        "value": {"start": 0, "end": 4, "text": "John", "labels": [label]} | value,
    }  # fmt: skip


class Store:
    """A store in memory that can be down; it notes how often it was asked for places."""

    def __init__(self) -> None:
        self.rows: list[ServedRow] = []
        self.known: dict[int, Place] = {}
        self.median = 0.42
        self.hidden: dict[str, frozenset[str]] = {}
        self.down = False
        self.asked = 0

    def _answer(self) -> None:
        if self.down:
            raise ConnectionError("database is gone")

    def served_by(self, backend: str) -> list[ServedRow]:
        self._answer()
        return self.rows

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> dict[int, Place]:
        self._answer()
        self.asked += 1
        assert serving_id in {row.serving_id for row in self.rows if row.project_id == project_id}
        return {task_id: self.known[task_id] for task_id in task_ids if task_id in self.known}

    def median_order_key(self, project_id: int, serving_id: str) -> float:
        self._answer()
        return self.median

    def hidden_classes(self, project_id: int) -> dict[str, frozenset[str]]:
        self._answer()
        return self.hidden


class Model:
    """A model whose outcome per task a test sets; it notes what it was asked."""

    classes = ("PER", "ORG")

    def __init__(self) -> None:
        self.asked: list[list[TaskItem]] = []
        self.outcome: Callable[[TaskItem], Outcome] = lambda item: Outcome(regions=(span(),), confidence=0.9)
        self.spoil: Callable[[list[Outcome]], list[Outcome]] = lambda outcomes: outcomes

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        self.asked.append(list(tasks))
        return self.spoil([self.outcome(item) for item in tasks])

    @property
    def asked_ids(self) -> list[list[int | None]]:
        """The task ids of each batch."""
        return [[item.task_id for item in batch] for batch in self.asked]


class HeldModel(Model):
    """A model that waits in each batch until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        self.asked.append(list(tasks))
        self.inside.release()
        assert self.go_on.acquire(timeout=PATIENCE_S)
        return self.spoil([self.outcome(item) for item in tasks])

    def wait_inside(self) -> None:
        """Until a batch is being predicted."""
        assert self.inside.acquire(timeout=PATIENCE_S)

    def release(self, batches: int = 1000) -> None:
        """Let batches go on."""
        self.go_on.release(batches)


class Queue:
    """Takes hints, and notes them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.called = threading.Condition()

    def _call(self, name: str, project_id: int) -> None:
        with self.called:
            self.calls.append((name, project_id))
            self.called.notify_all()

    def mark_dirty(self, project_id: int) -> None:
        self._call("dirty", project_id)

    def request_reconcile(self, project_id: int) -> None:
        self._call("reconcile", project_id)

    def request_training(self, project_id: int) -> None:
        self._call("train", project_id)

    def request_predictions(self, project_id: int) -> None:
        self._call("predict", project_id)

    def wait_for(self, count: int) -> list[tuple[str, int]]:
        """The hints, once there are so many."""
        with self.called:
            assert self.called.wait_for(lambda: len(self.calls) >= count, timeout=PATIENCE_S), self.calls
            return list(self.calls)


class Media:
    """Images by address."""

    def fetch(self, address: str) -> Path:
        if address.endswith("broken.png"):
            raise MediaError("unreadable", "does not decode")
        if address.endswith("full.png"):
            raise OSError("no space left")
        return Path("/media") / address.rpartition("/")[2]


class Bench:
    """One backend app; `load` is its loader, and may be replaced."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] | None = None, **settings: Any) -> None:
        self.folder = folder
        self.store = Store()
        self.model = Model()
        self.queue = Queue()
        self.load: Callable[[Path], Any] = lambda path: self.model
        values = {"data": folder / "data", "webhook_secret": "s3cr3t", **settings}
        self.app = server.create_app(
            "fake",
            lambda path: self.load(path),
            self.store,
            self.queue,
            ServiceSettings.model_validate(values),
            media=Media(),
            poll=False,
            **({"clock": clock} if clock is not None else {}),
        )
        self.client: FlaskClient = self.app.test_client()

    @property
    def models(self) -> ServedModels:
        """What the app serves."""
        found = self.app.extensions["served_models"]
        assert isinstance(found, ServedModels)
        return found

    def artefact(self, name: str = "v1") -> tuple[str, str]:
        """Path and digest of a version."""
        folder = self.folder / "artifacts" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_labels(
            folder, [ControlLabels("label", "text", "text", "labels", ("PER", "ORG"), {"PER": 0.5, "ORG": 0.5})]
        )
        (folder / "weights").write_text(name, encoding="utf-8")
        return str(folder), write_digest(folder)

    def row(self, name: str = "v1", generation: int = 1) -> ServedRow:
        """A served row for a version of the project."""
        path, digest = self.artefact(name)
        return ServedRow(PROJECT, "fake", f"fake-p3-{name}", f"fake-p3-{name}-r1", path, digest, generation)

    def serve(self, *pool: int, name: str = "v1", generation: int = 1) -> Bench:
        """Serve a version now; `pool` are ids of tasks that may show suggestions."""
        self.store.rows = [self.row(name, generation)]
        self.store.known |= {task_id: Place("pool", task_id / 100) for task_id in pool}
        self.models.poll()
        return self

    def results(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What /predict answers, of which there is one per task."""
        answer = self.app.test_client().post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        results = answer.get_json()["results"]
        assert len(results) == len(body["tasks"])  # L8
        assert isinstance(results, list)
        return results

    def close(self) -> None:
        """End the threads."""
        self.app.extensions["hints"].close()


class Asking:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._result: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._result.append(call()), daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        """The result, once it is there."""
        self._thread.join(PATIENCE_S)
        assert self._result, "the call did not end, or raised"
        return self._result[0]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    pause = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("did not happen in time")


def reasons(results: Iterable[dict[str, Any]]) -> list[str]:
    """The reason codes of results."""
    return [str(result["reason"]) for result in results]
