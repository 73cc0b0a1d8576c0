"""The backend server, on requests as stock Label Studio 1.23.2 sends them, with a store and a model in memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from backends import answering, server
from backends.serving import ServedModels, ServedRow
from backends.version_labels import ControlLabels, write_labels
from labelloop.artefacts import write_digest
from labelloop.errors import MediaError
from labelloop.logs import JsonLines
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


def task(task_id: int, **data: Any) -> dict[str, Any]:
    """A task as /predict carries it."""
    return {
        "id": task_id, "data": data or {"text": f"John Smith {task_id} works at Acme", "priority": task_id}, "meta": {},
        "created_at": "2026-11-21T03:55:19.952267Z", "updated_at": "2026-11-21T03:55:19.952277Z", "is_labeled": False,
        "overlap": 1, "inner_id": task_id, "total_annotations": 0, "project": PROJECT, "updated_by": None,
        "file_upload": None, "comment_authors": [], "annotations": [], "predictions": [],
    }  # fmt: skip


def request_of(*tasks: dict[str, Any], config: str = TEXT_CONFIG, context: Any = None) -> dict[str, Any]:
    """A /predict body."""
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": f"{PROJECT}.1795233319", "label_config": config, "params": params}


def span(label: str = "PER", score: float = 0.9, **value: Any) -> dict[str, Any]:
    return {
        "id": f"{label}{score}", "from_name": "label", "to_name": "text", "type": "labels", "score": score,
        "value": {"start": 0, "end": 4, "text": "John", "labels": [label]} | value,
    }  # fmt: skip


class Store:
    """A store in memory that can be down."""

    def __init__(self) -> None:
        self.rows: list[ServedRow] = []
        self.known: dict[int, Place] = {}
        self.median = 0.42
        self.down = False

    def _answer(self) -> None:
        if self.down:
            raise ConnectionError("database is gone")

    def served_by(self, backend: str) -> list[ServedRow]:
        self._answer()
        return self.rows

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> dict[int, Place]:
        self._answer()
        assert (project_id, serving_id) == (PROJECT, "fake-p3-v1-r1")
        return {task_id: self.known[task_id] for task_id in task_ids if task_id in self.known}

    def median_order_key(self, project_id: int, serving_id: str) -> float:
        self._answer()
        return self.median


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


class Queue:
    """Takes hints."""

    def mark_dirty(self, project_id: int) -> None:
        pass

    request_reconcile = request_training = mark_dirty


class Media:
    """Images by address."""

    def fetch(self, address: str) -> Path:
        if address.endswith("broken.png"):
            raise MediaError("unreadable", "does not decode")
        if address.endswith("full.png"):
            raise OSError("no space left")
        return Path("/media") / address.rpartition("/")[2]


class Bench:
    """One backend app with everything around it in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store()
        self.model = Model()
        self.load: Callable[[Path], Model] = lambda path: self.model
        settings = ServiceSettings.model_validate({"data": folder / "data", "webhook_secret": "s3cr3t"})
        self.app = server.create_app(
            "fake", lambda path: self.load(path), self.store, Queue(), settings, media=Media(), poll=False
        )
        self.client: FlaskClient = self.app.test_client()

    @property
    def models(self) -> ServedModels:
        found = self.app.extensions["served_models"]
        assert isinstance(found, ServedModels)
        return found

    def artefact(self, name: str = "v1") -> tuple[str, str]:
        folder = self.folder / "artifacts" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_labels(
            folder, [ControlLabels("label", "text", "text", "labels", ("PER", "ORG"), {"PER": 0.5, "ORG": 0.5})]
        )
        (folder / "weights").write_text(name, encoding="utf-8")
        return str(folder), write_digest(folder)

    def serve(self, *pool: int) -> Bench:
        path, digest = self.artefact()
        self.store.rows = [ServedRow(PROJECT, "fake", "fake-p3-v1", "fake-p3-v1-r1", path, digest, 1)]
        self.store.known |= {task_id: Place("pool", task_id / 100) for task_id in pool}
        self.models.poll()
        return self

    def results(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        results = answer.get_json()["results"]
        assert len(results) == len(body["tasks"])  # L8
        assert isinstance(results, list)
        return results


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.app.extensions["hints"].close()


# -- predict -----------------------------------------------------------------------------------------------------------


def test_a_known_task_gets_regions_its_order_key_and_the_serving_id(bench: Bench) -> None:
    bench.serve(5)
    [result] = bench.results(request_of(task(5)))
    assert result == {"result": [span()], "score": 0.05, "model_version": "fake-p3-v1-r1", "reason": "ok"}
    assert bench.model.asked[0][0].data["text"] == "John Smith 5 works at Acme"


@pytest.mark.parametrize("role", ["holdout", "gold", "blind"])
def test_tasks_that_measure_get_no_suggestion_but_their_place(bench: Bench, role: str) -> None:
    bench.serve(5)
    bench.store.known[6] = Place(role, 0.7)
    blind, shown = bench.results(request_of(task(6), task(5)))
    assert blind == {"result": [], "score": 0.7, "model_version": "fake-p3-v1-r1", "reason": "blind"}
    assert shown["result"]
    assert [item.task_id for asked in bench.model.asked for item in asked] == [5]


def test_an_unknown_task_gets_the_median_and_no_suggestion_as_it_may_become_holdout(bench: Bench) -> None:
    bench.serve(5)
    bench.store.known[7] = Place("pool", None)
    unknown, unranked = bench.results(request_of(task(6), task(7)))
    assert (unknown["score"], unknown["result"], unknown["reason"]) == (0.42, [], "role_unknown")
    assert (unranked["score"], unranked["reason"]) == (0.42, "ok")


def test_with_the_store_down_nothing_is_shown_and_the_last_median_is_kept(bench: Bench) -> None:
    bench.serve(5)
    bench.results(request_of(task(99)))
    bench.store.down = True
    bench.models.poll()
    results = bench.results(request_of(task(5), task(6)))
    assert [(each["result"], each["score"], each["reason"]) for each in results] == [([], 0.42, "role_unknown")] * 2
    assert {each["model_version"] for each in results} == {"fake-p3-v1-r1"}


def test_without_a_model_every_task_still_has_an_answer(bench: Bench) -> None:
    results = bench.results(request_of(task(1), task(2)))
    assert results == [{"result": [], "score": 0.5, "model_version": "fake-none", "reason": "no_model"}] * 2
    assert bench.results(request_of()) == []


def test_only_regions_over_the_threshold_that_fit_the_config_are_shown(bench: Bench) -> None:
    bench.serve(5)
    off = {**span(score=0.95), "from_name": "other"}
    regions = (span(score=0.4), span("ORG", 0.8), span("LOC", 0.99), off, span(score=0.9))
    bench.model.outcome = lambda item: Outcome(regions=regions)
    [result] = bench.results(request_of(task(5)))
    assert [(region["value"]["labels"], region["score"]) for region in result["result"]] == [
        (["PER"], 0.9), (["ORG"], 0.8),
    ]  # fmt: skip
    assert result["reason"] == "ok"


def test_l11_classes_that_are_all_outside_the_config_have_a_reason(bench: Bench) -> None:
    bench.serve(5)
    bench.model.outcome = lambda item: Outcome(regions=(span("zzz"),))
    assert bench.results(request_of(task(5)))[0]["reason"] == "class_not_in_config"


def test_y10_an_empty_answer_keeps_its_order_key(bench: Bench) -> None:
    bench.serve(80)
    bench.model.outcome = lambda item: Outcome(confidence=1.0)
    [result] = bench.results(request_of(task(80)))
    assert (result["result"], result["score"], result["reason"]) == ([], 0.8, "ok")


def test_y6_one_bad_task_costs_no_other_its_result(bench: Bench) -> None:
    bench.serve(*range(1, 31))

    def outcome(item: TaskItem) -> Outcome:
        if item.task_id == 13:
            raise ValueError("cannot read 'John Smith 13 works at Acme'")
        return Outcome("text_missing") if item.task_id == 20 else Outcome(regions=(span(),))

    bench.model.outcome = outcome
    results = bench.results(request_of(*[task(number) for number in range(1, 31)]))
    assert {n: r["reason"] for n, r in enumerate(results, 1) if r["reason"] != "ok"} == {
        13: "error",
        20: "text_missing",
    }
    assert sum(len(result["result"]) for result in results) == 28


@pytest.mark.parametrize("spoil", [lambda found: found[:-1], lambda found: [*found, *found], lambda found: []])
def test_l8_a_model_that_miscounts_still_gives_n_answers(bench: Bench, spoil: Any) -> None:
    bench.serve(1, 2, 3)
    bench.model.spoil = spoil
    assert [each["reason"] for each in bench.results(request_of(task(1), task(2), task(3)))] == ["error"] * 3
    bench.model.spoil = lambda found: found if len(found) == 1 else spoil(found)
    assert [each["reason"] for each in bench.results(request_of(task(1), task(2), task(3)))] == ["ok"] * 3


def test_l7_what_the_deadline_overtakes_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.serve(*range(1, 21))
    now = [0.0]
    slow = answering.Answering(bench.models, bench.store, None, budget_s=50, chunk=5, clock=lambda: now[0])

    def outcome(item: TaskItem) -> Outcome:
        now[0] += 6
        return Outcome(regions=(span(),))

    bench.model.outcome = outcome
    answers = slow.answer(answering.read_request(request_of(*[task(number) for number in range(1, 21)])))
    assert [answer.reason for answer in answers] == ["ok"] * 10 + ["deadline"] * 10
    assert [answer.score for answer in answers] == [number / 100 for number in range(1, 21)]


def test_images_are_fetched_and_a_bad_one_stands_alone(bench: Bench) -> None:
    bench.serve(1, 2, 3, 4, 5)
    images: list[dict[str, Any]] = [
        {"image": "/data/upload/2/a.png"}, {"image": "/data/upload/2/broken.png"}, {"other": 1},
        {"image": ["/a", "/b"]}, {"image": "/data/upload/2/full.png"},
    ]  # fmt: skip
    body = request_of(*[task(n, **data) for n, data in enumerate(images, 1)], config=IMAGE_CONFIG)
    bench.model.outcome = lambda item: Outcome()
    assert [r["reason"] for r in bench.results(body)] == ["ok", "unreadable", "not_found", "not_found", "error"]
    assert [item.media for item in bench.model.asked[0]] == [{"/data/upload/2/a.png": Path("/media/a.png")}]


def test_an_interactive_request_is_answered_like_any_other(bench: Bench) -> None:
    bench.serve(9)
    context = {"result": [{"id": "a", "type": "labels", "from_name": "label", "to_name": "text", "value": {}}]}
    interactive = {**task(9), "drafts": []}
    assert bench.results(request_of(interactive, context=context))[0]["result"] == [span()]


@pytest.mark.parametrize("broken", [{"id": None}, {"id": "5"}, {}, {"id": 5, "data": None}])
def test_a_task_without_id_or_data_is_answered(bench: Bench, broken: dict[str, Any]) -> None:
    bench.serve(5)
    assert len(bench.results(request_of(broken))) == 1


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, {"tasks": {}}, {"tasks": [1], "label_config": TEXT_CONFIG}, {"tasks": []},
        {"tasks": [], "label_config": "<View>"},
        {"tasks": [], "label_config": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"},
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_a_400_that_says_why(bench: Bench, body: Any) -> None:
    answer = bench.client.post("/predict", json=body)
    assert answer.status_code == 400
    assert set(answer.get_json()) == {"error"}


def test_a_score_is_a_number_between_0_and_1(bench: Bench) -> None:
    bench.serve()
    bench.store.known |= {1: Place("pool", 1.7), 2: Place("pool", -3.0)}
    assert [result["score"] for result in bench.results(request_of(task(1), task(2)))] == [1.0, 0.0]


def test_too_many_requests_at_once_are_sent_away_and_health_still_answers(bench: Bench) -> None:
    bench.serve(1)
    inside, go_on = threading.Semaphore(0), threading.Event()

    def outcome(item: TaskItem) -> Outcome:
        inside.release()
        go_on.wait(10)
        return Outcome()

    bench.model.outcome = outcome
    bench.model.predict = lambda tasks, want=None: [outcome(item) for item in tasks]  # type: ignore[method-assign, misc]
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(bench.app.test_client().post("/predict", json=request_of(task(1))).status_code)

    threads = [threading.Thread(target=ask) for _ in range(server.MAX_PREDICTING)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=10)
    while bench.app.test_client().post("/predict", json=request_of(task(1))).status_code != 503:
        pass
    assert bench.client.get("/health").status_code == 200
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * server.MAX_PREDICTING
    assert bench.client.post("/predict", json=request_of(task(1))).status_code == 200


# -- errors and logs ---------------------------------------------------------------------------------------------------


def test_an_unhandled_error_is_a_500_with_an_id_and_no_traceback(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve(5)

    def explode(project_id: int | None) -> None:
        raise KeyError("John Smith 5 works at Acme")

    bench.models.row = explode  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        answer = bench.client.post("/setup", json={"project": "3.1"})
    assert answer.status_code == 500
    assert "Traceback" not in answer.text and "John" not in answer.text
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any(answer.get_json()["id"] in line for line in lines)
    assert not any("John" in line for line in lines)


def test_logs_carry_no_task_text_and_no_token(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve(5)

    def outcome(item: TaskItem) -> Outcome:
        raise ValueError(f"cannot read {item.data['text']!r}")

    bench.model.outcome = outcome
    with caplog.at_level(logging.DEBUG):
        bench.client.post("/setup", json={"project": "3.1", "access_token": "0123456789abcdef"})
        bench.results(request_of(task(5)))
    text = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert '"error":"ValueError"' in text
    assert "John Smith" not in text and "0123456789abcdef" not in text


def test_metrics_count_tasks_by_reason(bench: Bench) -> None:
    bench.serve(5)
    bench.results(request_of(task(5), task(6)))
    text = bench.client.get("/metrics").text
    assert 'labelloop_predict_tasks_total{reason="ok"} 1.0' in text
    assert 'labelloop_predict_tasks_total{reason="role_unknown"} 1.0' in text
    assert "labelloop_models_loaded 1.0" in text
    assert "labelloop_store_up 1.0" in text
