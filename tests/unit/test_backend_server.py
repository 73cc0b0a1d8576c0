"""The backend server, on requests as stock Label Studio 1.23.2 sends them, with a store and a model in memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backend_bench import IMAGE_CONFIG, TEXT_CONFIG, Bench, request_of, span, task

from labelloop.logs import JsonLines
from labelloop.store import Place
from labelloop.values import Outcome, TaskItem


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


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


def test_a_class_that_slows_people_down_is_not_shown_from_the_next_request_on(bench: Bench) -> None:
    bench.serve(1).model.outcome = lambda item: Outcome(regions=(span("PER"), span("ORG", 0.8)))
    assert [region["id"] for region in bench.results(request_of(task(1)))[0]["result"]] == ["PER0.9", "ORG0.8"]
    bench.store.hidden = {"label": frozenset({"PER"})}
    (found,) = bench.results(request_of(task(1)))
    assert [region["id"] for region in found["result"]] == ["ORG0.8"] and found["reason"] == "ok"
    bench.store.hidden = {"label": frozenset({"PER", "ORG", "gone"}), "other": frozenset({"PER"})}
    assert bench.results(request_of(task(1)))[0]["result"] == []


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


def test_l7_what_the_deadline_overtakes_is_said_and_asked_for(tmp_path: Path) -> None:
    now = [0.0]
    bench = Bench(tmp_path, clock=lambda: now[0], predict_budget_s=50).serve(*range(1, 21))

    def outcome(item: TaskItem) -> Outcome:
        now[0] += 6
        return Outcome(regions=(span(),))

    bench.model.outcome = outcome
    body = request_of(*[task(number) for number in range(1, 21)])
    answer = bench.client.post("/predict", json=body).get_json()
    # Four at once, then one by one as they are slow: the last one begins at 48 s.
    assert answer["reasons"] == ["ok"] * 9 + ["deadline"] * 11
    assert [result["score"] for result in answer["results"][:9]] == [number / 100 for number in range(1, 10)]
    assert answer["results"][9:] == [[]] * 11, "Label Studio stores a prediction for it, and never asks again"
    assert bench.queue.wait_for(1) == [("predict", 3)]
    now[0] = 1000.0
    bench.models.current = raise_timeout  # type: ignore[method-assign]
    [interactive] = bench.results(request_of(task(1), context={"result": []}))
    assert (interactive["result"], interactive["reason"]) == ([], "deadline")
    bench.close()


def raise_timeout(project_id: int | None, timeout_s: float | None = None) -> Any:
    raise TimeoutError


def test_images_are_fetched_and_a_bad_one_stands_alone(bench: Bench) -> None:
    bench.serve(1, 2, 3, 4, 5)
    images: list[dict[str, Any]] = [
        {"image": "/data/upload/2/a.png"}, {"image": "/data/upload/2/broken.png"}, {"other": 1},
        {"image": ["/a", "/b"]}, {"image": "/data/upload/2/full.png"},
    ]  # fmt: skip
    body = request_of(*[task(n, **data) for n, data in enumerate(images, 1)], config=IMAGE_CONFIG)
    bench.model.outcome = lambda item: Outcome()
    assert [r["reason"] for r in bench.results(body)] == ["ok", "unreadable", "not_found", "not_found", "error"]
    assert [item.media for batch in bench.model.asked for item in batch] == [
        {"/data/upload/2/a.png": Path("/media/a.png")}
    ]


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
    assert set(answer.get_json()) == {"error", "error_id"}


def test_a_score_is_a_number_between_0_and_1(bench: Bench) -> None:
    bench.serve()
    bench.store.known |= {1: Place("pool", 1.7), 2: Place("pool", -3.0)}
    assert [result["score"] for result in bench.results(request_of(task(1), task(2)))] == [1.0, 0.0]


# -- errors and logs ---------------------------------------------------------------------------------------------------


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
