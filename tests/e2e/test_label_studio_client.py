"""The client and project set-up against a real Label Studio: what the design relies on, tried on the wire."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from labelloop.errors import ServiceError
from labelloop.label_studio import SECRET_HEADER, LabelStudio
from labelloop.settings import ProjectSettings
from labelloop.store import Store, open_store
from sync.projects import create_project
from templates.catalogue import load_template

pytestmark = pytest.mark.e2e

TEXTS = load_template("text_classification")
SETTINGS = ProjectSettings()


@pytest.fixture
def client(label_studio: Any) -> Iterator[LabelStudio]:
    with LabelStudio(label_studio.url, label_studio.token) as labels:
        yield labels


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/store.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def project_id(client: LabelStudio) -> Iterator[int]:
    config = TEXTS.config_for(TEXTS.example_classes)
    made = int(client.create_project(f"client {secrets.token_hex(4)}", config)["id"])
    yield made
    client.delete_project(made)


def texts(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"data": {TEXTS.data_key: f"text {i}"}, "meta": {"n": i}} for i in range(start, start + n)]


def annotate(client: LabelStudio, task_id: int, **fields: Any) -> int:
    body = {"result": [], "lead_time": 2.5, **fields}
    return int(client.request("POST", f"/api/tasks/{task_id}/annotations/", json=body)["id"])


def prediction(task_id: int, score: float, version: str) -> dict[str, Any]:
    return {"task": task_id, "result": [], "score": score, "model_version": version}


def test_tasks_come_back_in_input_order_with_data_and_meta(client: LabelStudio, project_id: int) -> None:
    ids = client.import_tasks(project_id, texts(1100))
    marks = {mark.task_id: mark for mark in client.task_marks(project_id, page_size=400)}
    assert [marks[task_id].meta for task_id in ids] == [{"n": i} for i in range(1100)]
    assert client.counts(project_id).tasks == 1100
    assert [row.data for row in client.tasks_by_id(project_id, ids[:2])] == [row["data"] for row in texts(2)]


def test_what_moves_a_task_into_the_changed_ones(client: LabelStudio, project_id: int) -> None:
    ids = client.import_tasks(project_id, texts(6))
    client.push_predictions(project_id, [prediction(i, 0.5, "v1") for i in ids])
    since = max(row.updated_at for page in client.changed_tasks(project_id) for row in page)

    def changed() -> set[int]:
        rows = [row for page in client.changed_tasks(project_id, since) for row in page]
        return {row.task_id for row in rows if row.updated_at > since}

    assert changed() == set()
    created = annotate(client, ids[0])
    assert changed() == {ids[0]}
    (row,) = client.tasks_by_id(project_id, [ids[0]])
    (label,) = row.annotations
    assert (label.annotation_id, label.person_id, label.lead_time_s) == (created, client.whoami()["id"], 2.5)
    assert (label.was_cancelled, label.ground_truth, row.is_labeled) == (False, False, True)
    since = row.updated_at
    client.request("PATCH", f"/api/annotations/{created}/", json={"ground_truth": True})
    assert changed() == {ids[0]}
    since = client.tasks_by_id(project_id, [ids[0]])[0].updated_at
    client.request("DELETE", f"/api/annotations/{created}/")
    assert changed() == {ids[0]}
    since = client.tasks_by_id(project_id, [ids[0]])[0].updated_at
    client.push_predictions(project_id, [prediction(i, 0.5, "v2") for i in ids])
    client.delete_task(ids[1])
    assert changed() == set()
    spans = client.light_spans(project_id, page_size=2)
    assert [swept.task_id for span in spans for swept in span.rows] == [ids[0], *ids[2:]]
    assert client.task_ids(project_id) == {ids[0], *ids[2:]}


def test_many_tasks_with_one_time_are_all_read_once(client: LabelStudio, project_id: int) -> None:
    ids = client.import_tasks(project_id, texts(9))
    for task_id in ids[:7]:
        annotate(client, task_id)
    selected = {"selectedItems": {"all": False, "included": ids[:7]}}
    params = {"id": "delete_tasks_annotations", "project": project_id}
    client.request("POST", "/api/dm/actions/", params=params, json=selected)
    rows = [row for page in client.changed_tasks(project_id, page_size=3) for row in page]
    assert Counter(row.task_id for row in rows) == Counter(ids)
    assert max(Counter(row.updated_at for row in rows).values()) > 3, "no ties: this test no longer tries what it names"


def test_the_prediction_that_a_label_began_from_is_read(client: LabelStudio, project_id: int) -> None:
    ids = client.import_tasks(project_id, texts(3))
    client.push_predictions(project_id, [prediction(i, 0.5, "v1-r1") for i in ids])
    listed = client.request("GET", "/api/predictions/", params={"task": ids[0], "project": project_id})
    annotate(client, ids[0], parent_prediction=listed[0]["id"])
    annotate(client, ids[1])
    rows = {row.task_id: row for page in client.changed_tasks(project_id) for row in page}
    assert rows[ids[0]].annotations[0].parent_prediction == listed[0]["id"]
    assert rows[ids[1]].annotations[0].parent_prediction is None
    (found,) = client.predictions_of(project_id, [ids[0]])
    assert (found.prediction_id, found.task_id, found.model_version) == (listed[0]["id"], ids[0], "v1-r1")
    with client.dump_predictions(project_id) as dump:
        assert dump.of([found.prediction_id]) == [found]
    # Once the prediction is deleted Label Studio no longer says that the label began from one.
    client.delete_model_version(project_id, "v1-r1")
    (row,) = client.tasks_by_id(project_id, [ids[0]])
    assert row.annotations[0].parent_prediction is None


def test_changes_are_counted_and_spans_leave_no_gap(client: LabelStudio, project_id: int) -> None:
    ids = client.import_tasks(project_id, texts(25))
    spans = list(client.task_spans(project_id, page_size=4))
    assert [row.task_id for span in spans for row in span.rows] == ids and spans[-1].last is None
    newest = client.newest_change(project_id)
    assert newest == max(row.updated_at for span in spans for row in span.rows)
    annotate(client, ids[3])
    lately, total = client.changed_lately(project_id, newest)
    assert (total, [row.task_id for row in lately]) == (1, [ids[3]])
    assert client.changed_lately(project_id, None, at_most=2)[1] == 25
    assert client.label_config(project_id) == client.get_project(project_id)["label_config"]


def test_sweep_sees_annotations_skips_and_deletes(client: LabelStudio, project_id: int) -> None:
    ids = client.import_tasks(project_id, texts(3))
    kept, gone = annotate(client, ids[0]), annotate(client, ids[0])
    annotate(client, ids[1], was_cancelled=True)
    client.request("DELETE", f"/api/annotations/{gone}/")
    (span,) = client.light_spans(project_id)
    first, second, third = span.rows
    assert (first.annotation_ids, first.n_submitted, first.n_cancelled) == (frozenset({kept}), 1, 0)
    assert (second.n_submitted, second.n_cancelled) == (0, 1)
    assert third.annotation_ids == frozenset()
    counts = client.counts(project_id)
    assert (counts.annotations, counts.skipped) == (1, 1)


def test_a_deleted_task_id_is_given_out_again_on_sqlite(client: LabelStudio, project_id: int) -> None:
    """A hazard for whoever keeps task ids: only `created_at` tells the two tasks apart."""
    last = client.import_tasks(project_id, texts(2))[-1]
    (before,) = client.tasks_by_id(project_id, [last])
    client.delete_task(last)
    assert client.import_tasks(project_id, texts(1, 50)) == [last]
    (after,) = client.tasks_by_id(project_id, [last])
    assert after.created_at > before.created_at


def test_l6_predictions_go_in_bulk_are_counted_and_dropped_ones_raise(client: LabelStudio, project_id: int) -> None:
    ids = client.import_tasks(project_id, texts(5))
    assert client.push_predictions(project_id, [prediction(i, 0.5, "v1") for i in ids], chunk=2) == 5
    assert (client.count_predictions(project_id, "v1"), client.count_predictions(project_id, "v2")) == (5, 0)
    value = {"choices": ["no such class"]}
    unknown = {"from_name": "label", "to_name": "text", "type": "choices", "value": value}
    with pytest.raises(ServiceError, match="1 were dropped"):
        client.push_predictions(project_id, [prediction(ids[0], 0.1, "v2") | {"result": [unknown]}])
    with pytest.raises(ServiceError) as caught:
        client.set_model_version(project_id, "never-pushed")
    assert caught.value.status == 400
    client.set_model_version(project_id, "v1")
    assert client.delete_model_version(project_id, "v1") == 5
    assert client.delete_model_version(project_id, "v1") == 0
    assert client.model_versions(project_id) == {}


def test_l4_the_stream_serves_the_lowest_score_and_holds_it_for_the_person(
    client: LabelStudio, project_id: int
) -> None:
    ids = client.import_tasks(project_id, texts(4))
    order = [ids[2], ids[0], ids[3], ids[1]]
    client.push_predictions(project_id, [prediction(i, rank / 10, "v1-r1") for rank, i in enumerate(order)])
    client.set_model_version(project_id, "v1-r1")
    served = []
    while (task := client.next_task(project_id)) is not None:
        again = client.next_task(project_id)
        assert again is not None and again["id"] == task["id"]
        served.append(task["id"])
        annotate(client, task["id"])
    assert served == order


@pytest.fixture
def colleague(client: LabelStudio) -> Iterator[LabelStudio]:
    """A second account, made through Label Studio's own sign-up."""
    invitation = client.request("GET", "/api/invite")["token"]
    with httpx.Client(base_url=client.url, follow_redirects=True) as browser:
        address = f"/user/signup/?token={invitation}"
        form = {"email": f"{secrets.token_hex(4)}@example.com", "password": secrets.token_hex(8)}
        form |= {"csrfmiddlewaretoken": csrf_of(browser.get(address).text), "allow_newsletters": "false"}
        browser.post(address, data=form, headers={"Referer": client.url + address})
        token = browser.get("/api/current-user/token").json()["token"]
    with LabelStudio(client.url, token) as second:
        yield second


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found is not None, "the page has no form"
    return found[1]


def test_one_more_opinion_is_served_to_another_person(
    client: LabelStudio, colleague: LabelStudio, project_id: int
) -> None:
    (task_id,) = client.import_tasks(project_id, texts(1))
    annotate(client, task_id)
    assert client.tasks_by_id(project_id, [task_id])[0].is_labeled
    assert colleague.next_task(project_id) is None
    client.set_task_overlap(task_id, 2)
    assert colleague.next_task(project_id) is None, "Label Studio opens the task by itself now: drop `reopen`"
    client.set_task_overlap(task_id, 2, reopen=True)
    assert client.next_task(project_id) is None
    served = colleague.next_task(project_id)
    assert served is not None and served["id"] == task_id
    annotate(colleague, task_id)
    (row,) = client.tasks_by_id(project_id, [task_id])
    assert (row.overlap, row.is_labeled, len({a.person_id for a in row.annotations})) == (2, True, 2)


def test_a_personal_access_token_works(client: LabelStudio, label_studio: Any) -> None:
    with httpx.Client(base_url=client.url, follow_redirects=True) as browser:
        form = {"email": label_studio.email, "password": label_studio.password}
        form["csrfmiddlewaretoken"] = csrf_of(browser.get("/user/login/").text)
        browser.post("/user/login/", data=form, headers={"Referer": f"{client.url}/user/login/"})
        csrf = {"X-CSRFToken": browser.cookies.get("csrftoken", ""), "Referer": client.url}
        for listed in browser.get("/api/token/").json():
            browser.post("/api/token/blacklist/", json={"refresh": listed["token"]}, headers=csrf)
        answer = browser.post("/api/token/", headers=csrf)
        assert answer.status_code == 201, answer.text
    with LabelStudio(client.url, answer.json()["token"]) as personal:
        assert personal.whoami()["id"] == client.whoami()["id"]


class _MLBackend(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({"status": "UP"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer({"model_version": "unset"})

    def _answer(self, body: dict[str, str]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def backend_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _MLBackend) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_l3_wiring_is_made_once_and_leaves_model_version_and_one_webhook(
    client: LabelStudio, project_id: int, backend_url: str
) -> None:
    ids = client.import_tasks(project_id, texts(1))
    client.push_predictions(project_id, [prediction(ids[0], 0.5, "v1")])
    client.set_model_version(project_id, "v1")
    hook = f"http://127.0.0.1:9/hooks/label-studio/{project_id}"
    made = client.ensure_webhook(project_id, hook, "first")
    backend_id = client.ensure_ml_backend(project_id, backend_url, "labelloop test")
    assert client.ensure_webhook(project_id, hook, "second") == made
    assert client.ensure_ml_backend(project_id, backend_url + "/", "labelloop test") == backend_id
    (webhook,) = client.webhooks(project_id)
    assert webhook["headers"] == {SECRET_HEADER: "second"}
    assert (webhook["url"], webhook["send_payload"], webhook["is_active"]) == (hook, False, True)
    assert client.get_project(project_id)["model_version"] == "v1"


def test_a_project_is_made_once_and_repaired(client: LabelStudio, store: Store) -> None:
    title = f"repaired {secrets.token_hex(4)}"

    def make(classes: tuple[str, ...]) -> int:
        return create_project(client, store, TEXTS, title, classes, SETTINGS)

    made = make(("cat", "dog"))
    try:
        client.update_project(made, sampling="Sequential sampling", show_collab_predictions=False)
        assert make(("dog",)) == made
        project = client.get_project(made)
        assert (project["sampling"], project["show_collab_predictions"]) == ("Uncertainty sampling", True)
        assert 'value="cat"' in project["label_config"], "an existing class was taken away"
        assert make(("cat", "dog", "bird")) == made
        assert 'value="bird"' in client.get_project(made)["label_config"]
        stored = store.project(made)
        assert stored is not None and 'value="bird"' in stored.label_config
    finally:
        client.delete_project(made)
