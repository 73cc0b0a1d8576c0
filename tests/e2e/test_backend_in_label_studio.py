"""A backend with a password beside a real Label Studio: the login, predictions in bulk, and what had no turn in time."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from backends.server import create_app
from backends.serving import ServedRow
from backends.version_labels import ControlLabels, write_labels
from labelloop.artefacts import write_digest
from labelloop.errors import ServiceError
from labelloop.label_studio import LabelStudio
from labelloop.settings import ServiceSettings
from labelloop.store import Place
from labelloop.values import Outcome, TaskItem
from templates.catalogue import load_template

pytestmark = pytest.mark.e2e

TEXTS = load_template("text_classification")
CHOICE = TEXTS.example_classes[0]
LOGIN = ("labelloop", "s3same")
SERVING_ID = "fake-v1-r1"


class Model:
    """Chooses the first class for every text; `held` stops it at its second batch."""

    classes = (CHOICE,)

    def __init__(self) -> None:
        self.held = threading.Event()
        self.batches: list[int] = []

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset()) -> list[Outcome]:
        self.batches.append(len(tasks))
        if len(self.batches) == 2:
            self.held.wait(120)
        region = {"id": "c", "from_name": "label", "to_name": "text", "type": "choices", "score": 0.9,
                  "value": {"choices": [CHOICE]}}  # fmt: skip
        return [Outcome(regions=(region,)) for _ in tasks]


class Store:
    """Knows every task as an ordinary one, and serves one version."""

    def __init__(self) -> None:
        self.rows: list[ServedRow] = []

    def served_by(self, backend: str) -> Sequence[ServedRow]:
        return self.rows

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> Mapping[int, Place]:
        return {task_id: Place("pool", 0.25) for task_id in task_ids}

    def median_order_key(self, project_id: int, serving_id: str) -> float:
        return 0.5

    def hidden_classes(self, project_id: int) -> dict[str, frozenset[str]]:
        return {}


class Queue:
    """Notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def mark_dirty(self, project_id: int) -> None:
        self.asked.append(("dirty", project_id))

    def request_reconcile(self, project_id: int) -> None:
        self.asked.append(("reconcile", project_id))

    def request_training(self, project_id: int) -> None:
        self.asked.append(("train", project_id))

    def request_predictions(self, project_id: int) -> None:
        self.asked.append(("predict", project_id))


@pytest.fixture
def client(label_studio: Any) -> Iterator[LabelStudio]:
    with LabelStudio(label_studio.url, label_studio.token) as labels:
        yield labels


@pytest.fixture
def project_id(client: LabelStudio) -> Iterator[int]:
    made = int(client.create_project(f"login {secrets.token_hex(4)}", TEXTS.config_for(TEXTS.example_classes))["id"])
    yield made
    client.delete_project(made)


@contextmanager
def served(folder: Path, project_id: int, model: Model, queue: Queue) -> Iterator[str]:
    """The address of a backend that asks for LOGIN and has three seconds for a request."""
    artefact = folder / "fake-v1"
    artefact.mkdir()
    write_labels(artefact, [ControlLabels("label", "text", "text", "choices", (CHOICE,), {CHOICE: 0.5})])
    store = Store()
    store.rows = [ServedRow(project_id, "fake", "fake-v1", SERVING_ID, str(artefact), write_digest(artefact), 1)]
    settings = ServiceSettings.model_validate(
        {"data": folder / "data", "backend_password": LOGIN[1], "predict_budget_s": 3.0}
    )
    app = create_app("fake", lambda path: model, store, queue, settings, poll=False)
    app.extensions["served_models"].poll()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        app.extensions["hints"].close()


def retrieve(client: LabelStudio, project_id: int) -> None:
    """What "Retrieve predictions" does for every task."""
    client.request(
        "POST",
        "/api/dm/actions",
        params={"id": "retrieve_tasks_predictions", "project": project_id},
        json={"selectedItems": {"all": True, "excluded": []}},
    )


def test_l7_l8_label_studio_logs_in_stores_what_is_done_and_asks_again_for_the_rest(
    client: LabelStudio, project_id: int, tmp_path: Path
) -> None:
    model, queue = Model(), Queue()
    client.import_tasks(project_id, [{"data": {TEXTS.data_key: f"text {n}"}} for n in range(6)])
    with served(tmp_path, project_id, model, queue) as url:
        with pytest.raises(ServiceError):
            client.ensure_ml_backend(project_id, url, "labelloop fake", ("labelloop", "wrong"))
        made = client.ensure_ml_backend(project_id, url, "labelloop fake", LOGIN)
        [backend] = client.request("GET", "/api/ml/", params={"project": project_id})
        assert (backend["auth_method"], backend["basic_auth_user"], backend["state"]) == ("BASIC_AUTH", LOGIN[0], "CO")
        assert client.ensure_ml_backend(project_id, url, "labelloop fake", LOGIN) == made
        assert client.webhooks(project_id) == []

        retrieve(client, project_id)  # one batch of four; then the model hangs until the time is over
        assert client.count_predictions(project_id, SERVING_ID) == 4
        assert ("predict", project_id) in queue.asked
        model.held.set()
        retrieve(client, project_id)
        assert client.count_predictions(project_id, SERVING_ID) == 6, "the two are asked for again, and those four not"

        body = {"project": project_id, "url": url, "title": "x", "auth_method": "BASIC_AUTH", "basic_auth_user": "who",
                "basic_auth_pass": LOGIN[1]}  # fmt: skip
        with pytest.raises(ServiceError):
            client.request("PATCH", f"/api/ml/{made}", json=body)
        client.request("POST", f"/api/ml/{made}/train")
        assert ("train", project_id) in queue.asked or _soon(lambda: ("train", project_id) in queue.asked)


def _soon(condition: Any) -> bool:
    pause = threading.Event()
    return any(condition() or pause.wait(0.1) for _ in range(300))
